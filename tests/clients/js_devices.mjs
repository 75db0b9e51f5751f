// node js_devices.mjs: devices with matrix-js-sdk, which do and tell what standard input asks, one JSON object to a line:
//
//     asked      {"id": 7, "device": "phone", "ask": "say", "with": ["!room", "Hello"]}
//     answered   {"id": 7, "result": "$event"}  or  {"id": 7, "error": "403 M_FORBIDDEN: …"}
//
// What can be asked of a device stands in VERBS, how it comes into being in ENTRANCES. With "until", the same is asked
// again until the answer is that or patience ends; the last answer is the result.

import { createInterface } from "node:readline";
import { isDeepStrictEqual } from "node:util";
import { patiently } from "./js_person.mjs";
import { logInDevice, signUpDevice } from "./js_device.mjs";
import * as acts from "./js_acts.mjs";
import * as encryption from "./js_encryption.mjs";
import * as photos from "./js_photos.mjs";
import * as views from "./js_views.mjs";

const ENTRANCES = { logIn: logInDevice, signUp: signUpDevice };
const VERBS = { ...acts, ...encryption, ...photos, ...views };

const devices = new Map();

// What the SDK leaves behind when a device logs out would end Node; in a browser it would be a line in the console.
process.on("unhandledRejection", (reason) => console.error("unhandled rejection:", reason));

async function answer({ device: name, ask, with: words = [], until }) {
    if (ask in ENTRANCES) {
        const { client } = devices.set(name, await ENTRANCES[ask](...words)).get(name);
        return { user_id: client.getUserId(), device_id: client.getDeviceId() };
    }
    const device = devices.get(name);
    const told = async () => asJson(await VERBS[ask](device, ...words));
    if (until === undefined) return told();
    let last = null;
    await patiently(async () => isDeepStrictEqual((last = await told().catch(explain)), until));
    return last;
}

/** As the one who asked will see it; throws if that is impossible. */
function asJson(value) {
    return JSON.parse(JSON.stringify(value ?? null));
}

function explain(error) {
    return error.errcode ? `${error.httpStatus} ${error.errcode}: ${error.data.error}` : `${error.stack ?? error}`;
}

for await (const line of createInterface({ input: process.stdin })) {
    const question = JSON.parse(line);
    answer(question)
        .then((result) => ({ result }), (error) => ({ error: explain(error) }))
        .then((said) => process.stdout.write(JSON.stringify({ id: question.id, ...said }) + "\n"));
}
process.exit(0); // not to wait for long polls and timers of the SDK
