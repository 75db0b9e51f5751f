// Photos: sending and opening them, as they are or encrypted, and having the server make them smaller.
//
// Files go through standard input and output in Base64. The SDK leaves their encryption to clients: the library is that
// of Element Web.

import { MsgType } from "matrix-js-sdk";
import attachments from "matrix-encrypt-attachment";
import { shownEvent, until } from "./js_person.mjs";

const MIMETYPE = "image/jpeg";

/** Send a photo as it is; its event id. */
export async function sendPhoto(device, roomId, photo) {
    const uploaded = await device.client.uploadContent(bytes(photo), { type: MIMETYPE, name: "photo.jpg" });
    return send(device, roomId, { url: uploaded.content_uri, info: { mimetype: MIMETYPE } });
}

/** Send a photo, and a smaller one to show before it, both encrypted; its event id. */
export async function sendEncryptedPhoto(device, roomId, photo, thumbnail) {
    const file = await uploadEncrypted(device, photo);
    const thumbnail_file = await uploadEncrypted(device, thumbnail);
    return send(device, roomId, { file, info: { mimetype: MIMETYPE, thumbnail_file } });
}

/** A photo that somebody sent: what was sent, and as far as there is one, the smaller one that was sent with it. */
export async function openPhoto(device, roomId, eventId) {
    const { url, file, info } = await photoContent(device, roomId, eventId);
    const thumbnail = info.thumbnail_file && (await openEncrypted(device, info.thumbnail_file));
    return { photo: file ? await openEncrypted(device, file) : base64((await download(device, url)).content), thumbnail };
}

/** A photo that somebody sent as it is, in another size that the server makes. */
export async function showPhoto(device, roomId, eventId, width, height, method) {
    const { url } = await photoContent(device, roomId, eventId);
    const { content, type } = await download(device, url, width, height, method);
    return { content: base64(content), type };
}

async function send(device, roomId, content) {
    return (await device.client.sendMessage(roomId, { msgtype: MsgType.Image, body: "photo.jpg", ...content })).event_id;
}

async function photoContent(device, roomId, eventId) {
    const content = () => shownEvent(device.client, roomId, eventId)?.getContent();
    await until(() => content()?.msgtype === MsgType.Image, "the photo");
    return content();
}

async function uploadEncrypted(device, content) {
    const { data, info } = await attachments.encryptAttachment(bytes(content));
    const options = { type: "application/octet-stream", includeFilename: false };
    return { ...info, url: (await device.client.uploadContent(data, options)).content_uri };
}

async function openEncrypted(device, file) {
    return base64(await attachments.decryptAttachment((await download(device, file.url)).content, file));
}

/** The bytes of a file: the SDK says where they are, and leaves fetching them to clients. */
async function download(device, uri, ...size) {
    const { client } = device;
    const [width, height, method] = size;
    const url = client.mxcUrlToHttp(uri, width, height, method, false, true, true);
    const answer = await fetch(url, { headers: { Authorization: `Bearer ${client.getAccessToken()}` } });
    if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
    return { content: await answer.arrayBuffer(), type: answer.headers.get("Content-Type") };
}

function bytes(text) {
    return Buffer.from(text, "base64");
}

function base64(content) {
    return Buffer.from(content).toString("base64");
}
