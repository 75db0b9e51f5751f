// Verifying others and oneself, and recovering what was encrypted.

import { PASSWORD, until } from "./js_person.mjs";
import { VerificationPhase, VerifierEvent, decodeRecoveryKey } from "matrix-js-sdk/lib/crypto-api/index.js";

const SAS = "m.sas.v1";

/** Ask one device of somebody to verify and be verified. */
export async function requestDeviceVerification(device, userId, deviceId) {
    device.verification = await device.client.getCrypto().requestDeviceVerification(userId, deviceId);
}

/** Ask somebody to verify and be verified, by a message in a room. */
export async function requestUserVerification(device, userId, roomId) {
    device.verification = await device.client.getCrypto().requestVerificationDM(userId, roomId);
}

/** Ask the own other devices to verify this one. */
export async function requestOwnVerification(device) {
    device.verification = await device.client.getCrypto().requestOwnUserVerification();
}

/** Accept the request that came. */
export function acceptVerification(device) {
    return device.verification.accept();
}

/** Propose to compare numbers. */
export async function startComparing(device) {
    await device.verification.startVerification(SAS);
    showNumbers(device);
}

/** Agree to compare numbers when the other has proposed it. */
export async function agreeToCompare(device) {
    await until(() => device.verification.phase === VerificationPhase.Started, "the other's proposal");
    showNumbers(device);
}

/** The numbers to compare, once there are some. */
export async function numbers(device) {
    await until(() => device.shortAuthentication, "the numbers");
    return device.shortAuthentication.sas.decimal;
}

/** Say that the numbers are the same. */
export function confirmNumbers(device) {
    return device.shortAuthentication.confirm();
}

/** How far a verification has come: Requested, Ready, Started, Cancelled or Done. */
export function verification(device) {
    return device.verification && VerificationPhase[device.verification.phase];
}

/** Why this device trusts another one: because they were compared, or because a trusted person signed it. */
export async function trust(device, userId, deviceId) {
    const status = await device.client.getCrypto().getDeviceVerificationStatus(userId, deviceId);
    return status && { compared: status.localVerified, signed: status.crossSigningVerified };
}

/** Whether this device has verified a person: their cross-signing identity, hence all of the devices that it signs. */
export async function hasVerified(device, userId) {
    return (await device.client.getCrypto().getUserVerificationStatus(userId)).isCrossSigningVerified();
}

/** Whether this device can sign others: it has the private keys of the own identity and is signed by it. */
export function canSign(device) {
    return device.client.getCrypto().isCrossSigningReady();
}

/** Set up cross-signing, secret storage and a key backup; the recovery key. */
export async function setUpRecovery(device) {
    const crypto = device.client.getCrypto();
    await crypto.bootstrapCrossSigning({ authUploadDeviceSigningKeys: withPassword(device) });
    const key = await crypto.createRecoveryKeyFromPassphrase();
    await crypto.bootstrapSecretStorage({ createSecretStorageKey: async () => key, setupNewKeyBackup: true });
    return key.encodedPrivateKey;
}

/** Replace the cross-signing keys by new ones; how often the server asked for the password. */
export async function replaceIdentity(device) {
    device.passwordsGiven = 0;
    const options = { setupNewCrossSigning: true, authUploadDeviceSigningKeys: withPassword(device) };
    await device.client.getCrypto().bootstrapCrossSigning(options);
    return device.passwordsGiven;
}

/** Use the recovery key on a new device: sign it, and fetch the keys of the backup; how many there were. */
export async function recover(device, recoveryKey) {
    const crypto = device.client.getCrypto();
    device.recoveryKey = decodeRecoveryKey(recoveryKey);
    await crypto.userHasCrossSigningKeys(device.client.getUserId(), true); // its public part first
    await crypto.bootstrapCrossSigning({});
    await crypto.loadSessionBackupPrivateKeyFromSecretStorage();
    return (await crypto.restoreKeyBackup()).imported;
}

/** How many room keys this device has put into the backup, of how many that it has. */
export async function backedUp(device) {
    const { backedUp, total } = await device.client.getCrypto().olmMachine.roomKeyCounts();
    return { backedUp, total };
}

/** Whether this device backs keys up, to a backup that it trusts. */
export async function backsUp(device) {
    return (await device.client.getCrypto().getActiveSessionBackupVersion()) !== null;
}

function showNumbers(device) {
    const { verifier } = device.verification;
    verifier.on(VerifierEvent.ShowSas, (shortAuthentication) => (device.shortAuthentication = shortAuthentication));
    verifier.verify().catch((error) => console.error(`the verification ended: ${error}`));
}

/** Ask without the password first, then with it, as the server demands (user-interactive authentication). */
function withPassword(device) {
    return async (makeRequest) => {
        try {
            return await makeRequest(null);
        } catch (error) {
            if (error.httpStatus !== 401 || !error.data?.flows) throw error;
            device.passwordsGiven += 1;
            const identifier = { type: "m.id.user", user: device.client.getUserId() };
            const { session } = error.data;
            return makeRequest({ type: "m.login.password", identifier, password: PASSWORD, session });
        }
    };
}
