// node js_conversation.mjs BASE_URL SUFFIX: Alice and Bob talk through matrix-js-sdk. Prints what happened, as JSON.

import { writeSync } from "node:fs";
import { bodies, logIn, pagesBack, refusal, register } from "./js_person.mjs";
import { scrollToTheBeginning, shown, startSyncing, until } from "./js_person.mjs";
import { EventType, Preset } from "matrix-js-sdk";

const MESSAGES_EACH_WAY = 10;
const PAGE_SIZE = 7;
const SHORT_TIMELINE = 5;

const [baseUrl, suffix] = process.argv.slice(2);
const results = {};

const aliceId = await register(baseUrl, `alice-${suffix}`);
const bobId = await register(baseUrl, `bob-${suffix}`);
const alice = await logIn(baseUrl, aliceId);
const bob = await logIn(baseUrl, bobId);
const complaints = [await startSyncing(alice), await startSyncing(bob)];
const clients = [alice, bob];

await alice.setDisplayName("Alice A.");
const { room_id: roomId } = await alice.createRoom({
    name: "Ward 3",
    topic: "Handover",
    preset: Preset.PrivateChat,
    room_alias_name: `ward-${suffix}`,
});
await until(() => alice.getRoom(roomId), "the new room");
await alice.invite(roomId, bobId, { reason: "the night shift" });
await until(() => bob.getRoom(roomId)?.getMyMembership() === "invite", "the invitation");
results.invitation = {
    name: bob.getRoom(roomId).name,
    inviter: bob.getRoom(roomId).getMember(bobId).events.member.getSender(),
    reason: bob.getRoom(roomId).getMember(bobId).events.member.getContent().reason,
};
await bob.joinRoom(roomId);
await until(() => bob.getRoom(roomId).getMyMembership() === "join", "Bob's own joining");
await until(() => alice.getRoom(roomId).getMember(bobId)?.membership === "join", "Bob");

results.said = [];
results.event_ids = [];
for (let number = 1; number <= MESSAGES_EACH_WAY; number++) {
    for (const [speaker, listener, name] of [[alice, bob, "Alice"], [bob, alice, "Bob"]]) {
        const body = `${name} ${number}`;
        results.said.push(body);
        results.event_ids.push((await speaker.sendTextMessage(roomId, body)).event_id);
        await until(() => bodies(shown(listener, roomId)).at(-1) === body, body);
    }
}
await until(() => clients.every((client) => !shown(client, roomId).some((event) => event.isSending())), "the echoes");
results.heard = clients.map((client) => bodies(shown(client, roomId)));
results.heard_event_ids = clients.map((client) =>
    shown(client, roomId).filter((event) => event.getType() === "m.room.message").map((event) => event.getId()),
);

const newDevice = await logIn(baseUrl, bobId);
complaints.push(await startSyncing(newDevice, { initialSyncLimit: SHORT_TIMELINE }));
results.new_device = { before: bodies(shown(newDevice, roomId)) };
results.new_device.requests = await scrollToTheBeginning(newDevice, roomId, PAGE_SIZE);
results.new_device.types = shown(newDevice, roomId).map((event) => event.getType());
results.new_device.after = bodies(shown(newDevice, roomId));
results.new_device.name = newDevice.getRoom(roomId).name;

const pages = await pagesBack(bob, roomId, null, PAGE_SIZE);
results.pages = pages.map((page) => page.map((event) => event.type));
results.paged = pages.flat().filter((event) => event.type === "m.room.message").map((event) => event.content.body);

const lazyRoom = newDevice.getRoom(roomId);
results.members = { before: lazyRoom.getJoinedMembers().map((member) => member.userId) };
results.members.loaded_from_server = await lazyRoom.loadMembersIfNeeded();
results.members.after = lazyRoom.getJoinedMembers().map((member) => member.userId).sort();
results.members.names = Object.fromEntries(lazyRoom.getJoinedMembers().map((member) => [member.userId, member.name]));

const fifth = results.event_ids[4];
const timeline = await newDevice.getEventTimeline(lazyRoom.getUnfilteredTimelineSet(), fifth);
results.found_in_context = timeline.getEvents().some((event) => event.getId() === fifth);

await alice.setRoomTopic(roomId, "Night shift");
const topic = () => bob.getRoom(roomId).currentState.getStateEvents(EventType.RoomTopic, "").getContent().topic;
await until(() => topic() === "Night shift", "the topic");
results.topic = (await bob.getStateEvent(roomId, EventType.RoomTopic, "")).topic;
results.refusal = await refusal(() => bob.setRoomTopic(roomId, "Bob's"));
results.alias = (await bob.getRoomIdForAlias(`#ward-${suffix}:${bob.getDomain()}`)).room_id === roomId;

await alice.redactEvent(roomId, results.event_ids[0], undefined, { reason: "a slip" });
await until(() => bob.getRoom(roomId).findEventById(results.event_ids[0]).isRedacted(), "the redaction");
results.redacted = (await bob.fetchRoomEvent(roomId, results.event_ids[0])).content;

await bob.setAccountData("org.example.theme", { colour: "green" });
const theme = await until(() => newDevice.getAccountData("org.example.theme"), "the account data");
results.account_data = theme.getContent();

await bob.leave(roomId);
await until(() => alice.getRoom(roomId).getMember(bobId).membership === "leave", "Bob's leaving");
await until(() => bob.getRoom(roomId).getMyMembership() === "leave", "Bob's own leaving");
await bob.forget(roomId);
results.forgotten = bob.getRoom(roomId) === null;
results.joined_rooms = (await bob.getJoinedRooms()).joined_rooms;
results.after_forgetting = await refusal(() => pagesBack(bob, roomId, null, PAGE_SIZE));

results.complaints = complaints.flatMap((complained) => complained());
await newDevice.logout(true);
results.after_logout = await refusal(() => newDevice.whoami());

writeSync(1, JSON.stringify({ alice: aliceId, bob: bobId, ...results }));
process.exit(0); // not to wait for long polls and timers of the SDK
