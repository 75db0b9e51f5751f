// What a person does with a device.

import { Preset, RelationType } from "matrix-js-sdk";
import { shownEvent, until } from "./js_person.mjs";

/** Call a method of the client; its result must be JSON. */
export function call(device, method, ...words) {
    return device.client[method](...words);
}

/** Stop the sync loop and log out; what the sync loop had complained of. */
export async function leaveOff(device) {
    const complaints = device.complaints();
    await device.client.logout(true);
    return complaints;
}

/** Wait until the SDK has no more requests under way: it may let an answer that is older have the last word. */
export async function settle(device) {
    await until(() => device.requests === 0, "the end of all requests");
}

/** Create a room in which everything is encrypted from the beginning; its room id. */
export async function createEncryptedRoom(device, options) {
    const content = { algorithm: "m.megolm.v1.aes-sha2" };
    const initial_state = [{ type: "m.room.encryption", state_key: "", content }];
    const { room_id: roomId } = await device.client.createRoom({ preset: Preset.PrivateChat, initial_state, ...options });
    await until(() => device.client.getRoom(roomId)?.hasEncryptionStateEvent(), "the new room");
    return roomId;
}

/** Join a room. */
export async function join(device, roomId) {
    await device.client.joinRoom(roomId);
}

/** Send a text message; its event id. */
export async function say(device, roomId, body) {
    return (await device.client.sendTextMessage(roomId, body)).event_id;
}

/** Send a text message that mentions people; its event id. */
export function mention(device, roomId, body, userIds) {
    return send(device, roomId, { "m.mentions": { user_ids: userIds }, body });
}

/** Send a text message into the thread that begins at an event; its event id. */
export async function sayInThread(device, roomId, threadId, body) {
    return (await device.client.sendTextMessage(roomId, threadId, body)).event_id;
}

/** Change what a message says; the event id of the change. */
export function edit(device, roomId, eventId, body) {
    return send(device, roomId, {
        "body": `* ${body}`,
        "m.new_content": { msgtype: "m.text", body },
        "m.relates_to": { rel_type: RelationType.Replace, event_id: eventId },
    });
}

/** React to a message; the event id of the reaction. */
export async function react(device, roomId, eventId, key) {
    const content = { "m.relates_to": { rel_type: RelationType.Annotation, event_id: eventId, key } };
    return (await device.client.sendEvent(roomId, "m.reaction", content)).event_id;
}

/** Read a room up to an event, and say so to all (m.read) or to the own devices (m.read.private). */
export async function read(device, roomId, eventId, receiptType) {
    const event = await until(() => shownEvent(device.client, roomId, eventId), "what to read");
    await device.client.sendReadReceipt(event, receiptType);
}

async function send(device, roomId, content) {
    return (await device.client.sendEvent(roomId, "m.room.message", { msgtype: "m.text", ...content })).event_id;
}
