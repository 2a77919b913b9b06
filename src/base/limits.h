/* Every limit of the program, with its reason. */
#ifndef USHER_BASE_LIMITS_H
#define USHER_BASE_LIMITS_H

/* Ids travel in commands, logs and URLs; 128 bytes hold any UUID scheme. */
#define ID_BYTES_MAX            128
/* A seat label is read by people. */
#define SEAT_LABEL_BYTES_MAX    64
/* Attributes and metadata are notes, not documents. */
#define JSON_TEXT_BYTES_MAX     (64 * 1024)
#define JSON_DEPTH_MAX          64
/* One text that a script makes, in one go: some 300 ms of the loop. */
#define JSON_BYTES_MAX          (32 << 20)
#define JSON_VALUES_MAX         2000000
/* A kv value: a policy's own record. */
#define KV_VALUE_BYTES_MAX      (64 * 1024)
/* One order: the largest party we accept at once. */
#define ORDER_SEATS_MAX         1000
/* A stadium has 100,000 seats; the aim of design.md 7 is 1,000,000. */
#define CHART_SEATS_MAX         1000000
/* Category and flags of a seat share 16 bits; a house has a few dozen at most. */
#define CHART_CATEGORIES_MAX    1000
/* Seats and areas are numbered below 2^20 in a chart's index. */
#define CHART_AREAS_MAX         10000
/* An area: the largest square of a city. */
#define CHART_AREA_CAPACITY_MAX 10000000
/* One request as it arrives, chart JSON of a large stadium included. */
#define REQUEST_BYTES_MAX       (16 * 1024 * 1024)
#define REQUEST_ARGS_MAX        4096
/* One log entry: a whole batch. A request that alone exceeds it is TOOBIG. */
#define ENTRY_BYTES_MAX         (32 * 1024 * 1024)
/* A batch stops growing here, so that one entry is written in about 1 ms. */
#define BATCH_BYTES_SOFT        (256 * 1024)
#define BATCH_REQUESTS_MAX      1024
/* Entries in flight (design.md 2.1): one being written, one on its way, one spare. */
#define PIPELINE_ENTRIES_MAX    3
/* Bytes of entries that a leader has appended and its own disk has not taken yet: others commit
 * without it meanwhile. About two seconds of the heaviest traffic; then the disk hangs, and
 * memory is what it would cost. */
#define UNSTORED_BYTES_MAX      (64 * 1024 * 1024)
/* Requests that wait undecided on one node before BUSY. */
#define QUEUE_REQUESTS_MAX      65536
/* Of them, reads that wait for an index: enough for every connection of a follower that is behind,
 * too few to keep the others out. */
#define INDEX_WAITS_MAX         16384
/* A batch also stops after this long, or slow rules would hold up heartbeats. */
#define BATCH_TIME_NS           (5ull * 1000 * 1000)
/* The same for reads in one loop turn. */
#define READS_TIME_NS           (5ull * 1000 * 1000)
/* Housekeeping in one batch: holds expired, ended orders dropped. */
#define BATCH_EXPIRE_MAX        256
/* A request without a deadline of its own; the console's and most clients' patience. */
#define REQUEST_DEADLINE_MS     30000
/* An election takes at most two timeouts; after this long without a leader people are told. */
#define LEADERLESS_MS           1500
/* Pause before a forwarded request is sent again to the same leader; doubles. */
#define RESEND_MS               2000
/* Forwarded requests are packed; a frame leaves early when this full. */
#define FORWARD_BYTES_SOFT      (1024 * 1024)
/* Main, script hooks and one for an embedding program. */
#define SERVICE_LISTENERS_MAX   4
/* Ended orders are kept this long for `order` and `explain` (lua.md 2). */
#define ENDED_KEEP_MS           (30ull * 24 * 60 * 60 * 1000)
/* Remembered results (lua.md 2). */
#define RESULTS_MAX             1000000
#define RESULTS_KEEP_MS         (24ull * 60 * 60 * 1000)
/* Lists stop here and say how to go on. */
#define LIST_MAX                1000
/* A peer frame; larger things go in chunks. */
#define FRAME_BYTES_MAX         (40 * 1024 * 1024)
#define SNAPSHOT_CHUNK_BYTES    (256 * 1024)
/* Old policies kept for rollback. */
#define POLICIES_KEPT           16
/* One bundle: every node compiles it on its loop, so it must stay a matter of milliseconds. */
#define POLICY_BUNDLE_BYTES_MAX (1024 * 1024)
#define POLICY_FILES_MAX        256
/* What a bundle may keep in memory once it is loaded; the rest of POLICY_MEMORY_BYTES is for
 * requests. */
#define POLICY_LOADED_BYTES_MAX (64u * 1024 * 1024)
/* Refusals kept by a leader for rehearsals: a file (two are kept), and what waits for it. */
#define REFUSALS_FILE_BYTES     (4u * 1024 * 1024)
#define REFUSALS_PENDING_BYTES  (1024 * 1024)
/* Servers in one configuration: far above the 3 to 7 voters that make sense. */
#define CLUSTER_MEMBERS_MAX     64
/* Entries in one AppendEntries; the library itself sends at most 32 at once. */
#define MESSAGE_ENTRIES_MAX     1024
/* "host:port" as people type it: a DNS name has at most 253 bytes. */
#define ADDRESS_BYTES_MAX       255
/* One TCP connect: a dead address must not hide a working one for long. */
#define CONNECT_TIMEOUT_MS      2000
/* A name look-up: resolvers give up by themselves after 5 to 10 s. */
#define LOOKUP_TIMEOUT_MS       5000

/* One block a script may allocate: twice the largest request (a buffer that doubles),
 * so that no single copy or comparison of a string takes over a few milliseconds. */
#define SANDBOX_BLOCK_BYTES_MAX        (64u * 1024 * 1024)
/* CPU time of one script run, the last line of defence behind its instruction budget. */
#define SANDBOX_CPU_MS_MAX             5000
/* Values that unpack, byte and the like may put on the stack at once. */
#define SANDBOX_UNPACK_MAX             10000
/* CPU time of one transaction that clients may ask for: half of the default election timeout, so
 * that even the worst policy does not cost the leader its office on a machine that is not
 * overloaded. Operators' commands (a chart of a million seats) end at SANDBOX_CPU_MS_MAX. */
#define POLICY_CPU_MS_MAX              250
/* Calls in each other. Each makes the collector's and the hook's work longer: Lua's own limit of
 * some 200,000 costs a quarter of a second. */
#define SANDBOX_CALLS_MAX              10000
/* Default budget and memory of the policy VM: a booking takes about 300 instructions. */
#define POLICY_INSTRUCTIONS            10000000ull
#define POLICY_MEMORY_BYTES            (256u * 1024 * 1024)
/* Extra instructions per byte of a request: a chart comes with its command. */
#define POLICY_INSTRUCTIONS_PER_BYTE   50
/* What an effect counts for: its memory (undo, the entry) is outside of the sandbox, and a
 * transaction that makes 100,000 of them has stopped the node for half a second already. */
#define POLICY_INSTRUCTIONS_PER_EFFECT 100
/* Candidates that tx:best puts before the rules and the score function. */
#define BEST_CANDIDATES_MAX            1000
/* Percent of a run's budget that may be used once one attempt is over (tx:attempt). */
#define POLICY_ATTEMPT_PERCENT         75
/* Hooks that make effects run hooks again; deeper is a loop. */
#define POLICY_HOOK_DEPTH_MAX          8
/* Rules that call tx:best or tx:judge are asked again by it; deeper is a loop. */
#define POLICY_JUDGE_DEPTH_MAX         8
/* Bytes waiting on one link; beyond it frames are dropped and their senders retry. */
#define LINK_QUEUE_BYTES_MAX           (64 * 1024 * 1024)
/* Accepted peer connections that have not proved the secret yet; the oldest goes. */
#define HANDSHAKES_MAX                 64
/* A handshake takes two round trips; a silent client is cut off after this. */
#define HANDSHAKE_MS                   5000
/* Both ends of a link say something this often, and give it up after that silence: TCP
 * alone would notice a peer without power only after a quarter of an hour. */
#define LINK_KEEP_MS                   1000
#define LINK_SILENT_MS                 10000
/* A begun frame must be whole by then (40 MB at 1.3 MB/s), and after the first seconds have come
 * at this pace: a damaged length must not make a link wait for bytes that never come, nor take
 * the small frames that follow for a large one. */
#define LINK_FRAME_MS                  30000
#define LINK_PACE_MS                   2000
#define LINK_PACE_BYTES_PER_S          (32 * 1024)
/* Redialling: from/to, doubled each time, with jitter. */
#define LINK_RETRY_MIN_MS              20
#define LINK_RETRY_MAX_MS              1000

/* Node scripts: a slice is a third of a millisecond, a whole script about half a minute of
 * computing; one script may have this much memory, all of a node together that much. */
#define SCRIPT_SLICE_INSTRUCTIONS 50000
#define SCRIPT_SLICE_NS           (300ull * 1000)
#define SCRIPT_INSTRUCTIONS_MAX   2000000000ull
#define SCRIPT_MEMORY_BYTES_MAX   (128u * 1024 * 1024)
#define SCRIPTS_MEMORY_BYTES_MAX  ((size_t)1024 * 1024 * 1024)
/* Slices of one loop turn together: what a booking may have to wait for all scripts. */
#define SCRIPTS_TURN_NS           (2ull * 1000 * 1000)
/* Defining commands and hooks while a script is loaded: about a tenth of a second. */
#define SCRIPT_LOAD_INSTRUCTIONS  20000000ull
/* One run of a hook or timer: about three seconds of computing. */
#define SCRIPT_HOOK_INSTRUCTIONS  200000000ull
/* What a hook has not taken yet; beyond it newer ones are left out, and it is told how many. */
#define HOOK_QUEUE_MAX            1000
#define HOOK_QUEUE_BYTES_MAX      (8 * 1024 * 1024)
/* How often the node looks for new snapshots and keeps the place of its hooks. */
#define SCRIPTS_TICK_MS           200
/* `stop` hooks have this long; the node has 5 s in all. */
#define HOOK_STOP_MS              1500
/* A doctor check or completion of a script that takes longer has failed. */
#define SCRIPT_CHECK_MS           5000
/* append(): one text, one file before it is rotated, how many old ones stay. */
#define APPEND_BYTES_MAX          (1024 * 1024)
#define APPEND_FILE_BYTES         (64ull * 1024 * 1024)
#define APPEND_FILES_KEPT         4
/* Console sessions of a node; each has a Lua state of its own. */
#define SCRIPT_SESSIONS_MAX       500
/* Scripts and statements at work at the same time on one node. */
#define SCRIPT_TASKS_MAX          1000

/* ---- Client connections (src/net) ---- */
/* One address serves people and programs; far below the usual limit of descriptors. */
#define CONNECTIONS_MAX           10000
/* Descriptors that clients leave to the log, to snapshots and to peers (HANDSHAKES_MAX of them
 * unproved); never more than a quarter of all. Connections that say nothing leave half of it. */
#define DESCRIPTORS_KEPT          128
/* Accepted, but not one byte sent yet; the oldest goes. */
#define SILENT_MAX                1024
/* Pools connect ahead of need, but not much. */
#define SILENT_MS                 30000
/* Nothing asked for so long without authentication, where the profile has users. */
#define UNAUTHENTICATED_MS        60000
/* A request that has begun must end: 16 MiB at 300 KiB/s. */
#define PARTIAL_MS                60000
/* Bytes waiting and none taken by the client for this long: it is gone. */
#define STALLED_MS                30000
/* Requests of one connection that wait for answers; then it is not read from. */
#define PIPELINE_REQUESTS_MAX     4096
#define PIPELINE_BYTES_MAX        (4 * 1024 * 1024)
/* Answers a client has not taken: first its requests wait, then it is cut off. */
#define OUT_BYTES_SOFT            (1024 * 1024)
#define OUT_BYTES_MAX             (64 * 1024 * 1024)
/* The same of all clients together; beyond it the one that has left most is cut off. */
#define OUT_BYTES_ALL_MAX         (256 * 1024 * 1024)
/* Live changes that a subscriber has not taken. */
#define PUSH_BYTES_MAX            (8 * 1024 * 1024)
/* What a feed of a node command keeps for a reader that is busy; then it begins anew. */
#define FEED_BYTES_MAX            (4 * 1024 * 1024)
/* Output of a script that its console has not taken; then the script waits. */
#define STREAM_BYTES_SOFT         (256 * 1024)
/* A request before authentication: AUTH and its friends are short. */
#define UNAUTHENTICATED_BYTES_MAX (16 * 1024)
/* A line typed by hand, as Redis has it. */
#define INLINE_BYTES_MAX          (64 * 1024)
#define SUBSCRIPTIONS_MAX         1024
/* A passphrase is typed; hashing must not take megabytes. */
#define PASSWORD_BYTES_MAX        1024
/* Logins whose slow hash waits for its turn (a quarter of a second each). */
#define AUTH_WAITING_MAX          64
/* Wrong passwords on one connection. */
#define AUTH_FAILURES_MAX         5

/* Store: money per place or order in minor units; sums of 1,000 stay far from 2^63. */
#define PRICE_MAX        1000000000000000ll
/* A kv key: a path of ids. */
#define KV_KEY_BYTES_MAX 512
/* Ticket types and reasons of blocks are kept for ever, so both size and number end. */
#define NAME_BYTES_MAX   256
#define NAMES_MAX        1000000
/* Cluster records: the cluster module's own, a handful. */
#define RECORDS_MAX      64
#define RECORD_BYTES_MAX (64 * 1024)
/* One RESULT_DROP stays within about a millisecond; repeat it for more. */
#define RESULTS_DROP_MAX 4096
/* Events are found by number in an array of pointers: 128 MB at the very end. */
#define EVENT_NUMBER_MAX (1u << 24)

#endif
