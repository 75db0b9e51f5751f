// A device with matrix-js-sdk and its encryption in Rust, whose keys live in memory.

import { logIn, register, startSyncing } from "./js_person.mjs";
import { PendingEventOrdering } from "matrix-js-sdk";
import { CryptoEvent } from "matrix-js-sdk/lib/crypto-api/index.js";
import { RustBackupManager } from "matrix-js-sdk/lib/rust-crypto/backup.js";

// The SDK lets up to ten seconds pass before it backs keys up, so that not all clients do it at once.
RustBackupManager.maxBackupLoopStartDelayMillis = 100;

/** Make an account and log in. */
export async function signUpDevice(baseUrl, username) {
    return logInDevice(baseUrl, await register(baseUrl, username));
}

/** Log in on a new device, set its encryption up and start its sync loop. */
export async function logInDevice(baseUrl, userId) {
    const device = { verification: null, shortAuthentication: null, recoveryKey: null, passwordsGiven: 0, requests: 0 };
    const options = { cryptoCallbacks: secretStorage(device), fetchFn: countingRequests(device) };
    device.client = await logIn(baseUrl, userId, options);
    await device.client.initRustCrypto({ useIndexedDB: false });
    device.client.on(CryptoEvent.VerificationRequestReceived, (request) => (device.verification = request));
    const pendingEventOrdering = PendingEventOrdering.Detached;
    device.complaints = await startSyncing(device.client, { threadSupport: true, pendingEventOrdering });
    return device;
}

/** How the SDK asks a person for the recovery key. */
function secretStorage(device) {
    return {
        getSecretStorageKey: async ({ keys }) => device.recoveryKey && [Object.keys(keys)[0], device.recoveryKey],
        cacheSecretStorageKey: (_, __, key) => (device.recoveryKey = key),
    };
}

/** `fetch`, keeping count of the requests that are under way, besides the long polls. */
function countingRequests(device) {
    return async (resource, options) => {
        const counted = new URL(resource).pathname.endsWith("/sync") ? 0 : 1;
        device.requests += counted;
        try {
            return await fetch(resource, options);
        } finally {
            device.requests -= counted;
        }
    };
}
