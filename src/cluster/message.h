/* libraft's messages on the wire: encoder, decoder and the validator that stands
 * between the network and the library (engine.md, "What our transport owes").
 *
 * Everything the library would trust is checked here: type, exact length, terms in
 * 1..MESSAGE_TERM_MAX, indices that cannot overflow, entry types, entry terms that
 * never decrease and never exceed the message's, configurations with known roles,
 * unique ids and addresses and at least one voter. The sender's identity is not in
 * the message: the transport proved it, and the caller fills server_id and
 * server_address after decoding (and compares candidate_id with the sender).
 *
 * Ownership of a decoded AppendEntries: `entries` is one raft_malloc block, and all
 * payloads lie in a second one to which every entry's `batch` points, as the
 * library demands. raft_step() takes the batch (it frees it, or hands it on in
 * update.entries) but never the array; it takes an InstallSnapshot's configuration.
 * Hence two ways to end a message:
 *   message_consumed()  after raft_step(), once update.entries has been used: frees
 *                       the array only
 *   message_release()   instead of raft_step(): frees everything
 *
 * InstallSnapshot carries metadata only (`data` is NULL, 0); the chunks travel on
 * CHANNEL_CLUSTER. */
#ifndef USHER_CLUSTER_MESSAGE_H
#define USHER_CLUSTER_MESSAGE_H

#include <raft.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"

/* Above this a term is an attack or damage, never an election count (engine.md, 11). */
#define MESSAGE_TERM_MAX (UINT64_C(1) << 62)

/* Appends the encoded message to `out`. An AppendEntries that would not fit into a
 * frame is sent with as many leading entries as fit (at least one): a prefix is a
 * valid AppendEntries, and the leader sends the rest when it sees the answer.
 * Returns 0, ERR_NOMEM, ERR_TOOBIG (one entry over ENTRY_BYTES_MAX) or ERR_BADARG
 * (unknown type). */
int message_encode(const struct raft_message *m, struct buf *out);

/* Decodes exactly `len` bytes; the bytes are copied, nothing refers to `data`
 * afterwards. On 0 the caller owns what is in `out` (see above) and must fill
 * server_id and server_address. ERR_CORRUPT with a reason, or ERR_NOMEM; then
 * nothing is owned. */
int message_decode(const uint8_t *data, size_t len, struct raft_message *out, struct error *e);

/* An AppendEntries in which a CHANGE stands behind other entries must reach the
 * library in parts (engine.md, trap 1). True: `m` keeps the entries before the first
 * such CHANGE, `rest` is a message of its own (array, batch, adjusted previous index
 * and term) that starts with it; call again with `rest`. False: `m` is whole.
 * ERR_NOMEM is reported in *status (0 otherwise) and leaves `m` unchanged. */
bool message_split(struct raft_message *m, struct raft_message *rest, int *status);

void message_consumed(struct raft_message *m);
void message_release(struct raft_message *m);

/* Checks the payload of a CHANGE entry or of a snapshot's metadata: format, roles,
 * ids non-zero and unique, addresses printable and unique, 1..CLUSTER_MEMBERS_MAX servers,
 * a voter. raft_configuration_decode() itself does not check lengths. */
int message_check_configuration(const void *data, size_t len, struct error *e);

#endif
