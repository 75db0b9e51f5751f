// What a device shows of rooms and people: what the SDK believes, not what the server has stored.

import { NotificationCountType, RelationType } from "matrix-js-sdk";
import { bodies, scrollToTheBeginning, shown, shownEvent, until } from "./js_person.mjs";

const HISTORY_PAGE_SIZE = 50;

/** The own membership of a room. */
export function membership(device, roomId) {
    return device.client.getRoom(roomId)?.getMyMembership();
}

/** The members of a room that have joined. */
export function members(device, roomId) {
    return device.client.getRoom(roomId).getJoinedMembers().map((member) => member.userId).sort();
}

/** The text messages of a room's main timeline, decrypted and as last edited, in order. */
export function heard(device, roomId) {
    return bodies(shown(device.client, roomId).filter((event) => !event.isRelation(RelationType.Replace)));
}

/** Whether an event came encrypted and could be read. */
export function wasEncrypted(device, roomId, eventId) {
    const event = shownEvent(device.client, roomId, eventId);
    return event.isEncrypted() && !event.isDecryptionFailure();
}

/** What a message says now, and whether it was edited. */
export function message(device, roomId, eventId) {
    const event = shownEvent(device.client, roomId, eventId);
    return { body: event?.getContent().body, edited: event?.replacingEvent() != null };
}

/** How many have reacted to a message, by what they reacted with. */
export function reactions(device, roomId, eventId) {
    const relations = device.client.getRoom(roomId).relations;
    const annotations = relations.getChildEventsForEvent(eventId, RelationType.Annotation, "m.reaction");
    return Object.fromEntries((annotations?.getSortedAnnotationsByKey() ?? []).map(([key, all]) => [key, all.size]));
}

/** Of a thread: how many replies it has, the latest one, and all that are loaded. */
export function thread(device, roomId, threadId) {
    const found = device.client.getRoom(roomId).getThread(threadId);
    if (found === null) return null;
    const heard = bodies(found.events.filter((event) => event.getId() !== threadId));
    return { length: found.length, latest: found.replyToEvent?.getContent().body, heard };
}

/** The threads of a room as the server lists them, the latest one last: what they are about, and how many replies. */
export async function threads(device, roomId) {
    const room = device.client.getRoom(roomId);
    await room.createThreadsTimelineSets();
    await room.fetchRoomThreads();
    const roots = room.threadsTimelineSets[0].getLiveTimeline().getEvents();
    return roots.map((root) => [root.getContent().body, root.getServerAggregatedRelation("m.thread").count]);
}

/** Who has read a room up to this event, besides its sender. */
export function readers(device, roomId, eventId) {
    const event = shownEvent(device.client, roomId, eventId);
    const read = event === undefined ? [] : device.client.getRoom(roomId).getUsersReadUpTo(event);
    return read.filter((userId) => userId !== event.getSender()).sort();
}

/** Up to which event of the main timeline the server has heard that a user has read. */
export function readUpTo(device, roomId, userId) {
    return device.client.getRoom(roomId).getEventReadUpTo(userId, true);
}

/** Account data of a room. */
export function roomAccountData(device, roomId, type) {
    return device.client.getRoom(roomId).getAccountData(type)?.getContent();
}

/** Who is typing in a room. */
export function typing(device, roomId) {
    return device.client.getRoom(roomId).getMembers().filter((member) => member.typing).map((member) => member.userId);
}

/** Whether a user is there, and what they say about it. */
export function presence(device, userId) {
    const user = device.client.getUser(userId);
    return { presence: user?.presence, status: user?.presenceStatusMsg ?? null };
}

/** How many messages of a room notify, and how many of them mention, in the main timeline and in a thread. */
export function unread(device, roomId, threadId) {
    const room = device.client.getRoom(roomId);
    const count = (type) =>
        threadId ? room.getThreadUnreadNotificationCount(threadId, type) : room.getRoomUnreadNotificationCount(type);
    return { notifications: count(NotificationCountType.Total), highlights: count(NotificationCountType.Highlight) };
}

/** Load the history of a room, from its end to its beginning; the texts of its main timeline. */
export async function history(device, roomId) {
    await scrollToTheBeginning(device.client, roomId, HISTORY_PAGE_SIZE);
    await until(() => !shown(device.client, roomId).some((event) => event.isBeingDecrypted()), "the decryption");
    return heard(device, roomId);
}
