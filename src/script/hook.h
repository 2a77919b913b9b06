/* Payloads of hooks as JSON text: the same for Lua handlers and for the C API. */
#ifndef USHER_SCRIPT_HOOK_H
#define USHER_SCRIPT_HOOK_H

#include "base/buf.h"
#include "store/store.h"

/* What on("commit") gets (lua.md 4). Only inside cluster_events.committed, with a non-empty
 * entry; `out` gets one JSON object, or nothing when the entry cannot be read. */
void hook_commit_json(struct store *store, uint64_t index, uint64_t term, struct span entry,
                      struct buf *out);

#endif
