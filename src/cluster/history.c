/* Committed entries that are still in memory, for those who look at the log. */
#include "cluster/internal.h"

bool cluster_entry(const struct cluster *c, uint64_t index, struct cluster_entry *out)
{
    const struct log_entry *e = index <= c->applied ? log_cache_get(&c->log, index) : NULL;
    if (e == NULL) {
        return false;
    }
    *out = (struct cluster_entry){ .term = e->term,
                                   .command = e->type == RAFT_COMMAND,
                                   .change = e->type == RAFT_CHANGE,
                                   .data = span_make(e->data, e->len) };
    return true;
}

uint64_t cluster_first(const struct cluster *c)
{
    return c->log.count > 0 ? c->log.first : log_cache_last(&c->log) + 1;
}
