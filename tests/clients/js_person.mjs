// A person with matrix-js-sdk: logging in, syncing, and waiting for what the sync loop brings.

import "./prepare_node.mjs";
import { ClientEvent, Direction, SyncState, createClient } from "matrix-js-sdk";

export const PASSWORD = "correct horse battery staple";
const PATIENCE_MS = 10_000;
const REFUSAL_PATIENCE_MS = 1_000;
const POLL_INTERVAL_MS = 20;
const PAGES_MAX = 100;

/** Make an account; its user id. */
export async function register(baseUrl, username) {
    const auth = { type: "m.login.dummy" };
    const { user_id: userId } = await createClient({ baseUrl }).registerRequest({ username, password: PASSWORD, auth });
    return userId;
}

/** A client of this account on a new device. */
export async function logIn(baseUrl, userId, options = {}) {
    const session = await createClient({ baseUrl }).loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: userId },
        password: PASSWORD,
        initial_device_display_name: "matrix-js-sdk",
    });
    const { access_token: accessToken, device_id: deviceId, user_id } = session;
    return createClient({ baseUrl, userId: user_id, accessToken, deviceId, timelineSupport: true, ...options });
}

/** Start the sync loop; returns once the first answer is in. */
export async function startSyncing(client, options = {}) {
    const states = [];
    client.on(ClientEvent.Sync, (state, _, data) => states.push(data?.error ? `${state}: ${data.error}` : state));
    client.on(ClientEvent.SyncUnexpectedError, (error) => states.push(`unexpected: ${error}`));
    await client.startClient({ lazyLoadMembers: true, ...options });
    await until(() => client.isInitialSyncComplete(), "the first sync");
    return () => states.filter((state) => ![SyncState.Prepared, SyncState.Syncing].includes(state));
}

/** Wait until `holds()` is true, and return what it gave. */
export async function until(holds, what) {
    const value = await patiently(holds);
    if (!value) throw new Error(`waited in vain for ${what}`);
    return value;
}

/** What `holds()` gives once it is true; when patience ends, what it gave last. */
export async function patiently(holds) {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
        const value = await holds();
        if (value || Date.now() > deadline) return value;
        await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL_MS));
    }
}

/** The events of the live timeline that a client shows of a room. */
export function shown(client, roomId) {
    return client.getRoom(roomId)?.getLiveTimeline().getEvents() ?? [];
}

/** An event that a client shows, in the main timeline or in a thread. */
export function shownEvent(client, roomId, eventId) {
    return client.getRoom(roomId)?.findEventById(eventId);
}

/** The text messages among events of the SDK, in order. */
export function bodies(events) {
    return events.filter((event) => event.getType() === "m.room.message").map((event) => event.getContent().body);
}

/** Scroll a room's timeline back to its beginning; how many requests it took. */
export async function scrollToTheBeginning(client, roomId, limit) {
    const room = client.getRoom(roomId);
    let requests = 0;
    for (; room.getLiveTimeline().getPaginationToken(Direction.Backward) !== null; requests++) {
        if (requests > PAGES_MAX) throw new Error("there is no end to it");
        await client.scrollback(room, limit);
    }
    return requests;
}

/** The pages of /messages from `from` (null: the end) back to the beginning, each an array of raw events. */
export async function pagesBack(client, roomId, from, limit) {
    const pages = [];
    for (let token = from; token !== undefined || pages.length === 0; ) {
        if (pages.length > PAGES_MAX) throw new Error("there is no end to it");
        const page = await client.createMessagesRequest(roomId, token, limit, Direction.Backward);
        pages.push(page.chunk);
        token = page.end;
    }
    return pages;
}

/** The status and errcode with which the server refuses a request; another process may need a moment to learn why. */
export async function refusal(request) {
    const deadline = Date.now() + REFUSAL_PATIENCE_MS;
    for (;;) {
        try {
            await request();
        } catch (error) {
            return `${error.httpStatus} ${error.errcode}`;
        }
        if (Date.now() > deadline) return "not refused";
        await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL_MS));
    }
}
