/* What a founding node says: whom it waits for and why, in one line for the operator. The
 * same text is its status. */
#define LOG_MODULE "founding"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cluster/internal.h"

#define QUIET_MS  1000  /* most foundings are over by then */
#define REPEAT_MS 30000 /* the same line again */

void founding_lists_differ(struct cluster *c, struct peer *p, const struct wire_hello *h)
{
    struct buf here = BUF_INIT, there = BUF_INIT;
    for (size_t i = 0; i < c->nodes_count; i++) {
        buf_printf(&here, "%s%s", i > 0 ? ", " : "", c->nodes[i]);
    }
    for (unsigned i = 0; i < h->nodes_count; i++) {
        buf_printf(&there, "%s%.*s", i > 0 ? ", " : "", (int)h->nodes[i].len, h->nodes[i].data);
    }
    snprintf(p->refusal, sizeof p->refusal, "the lists of nodes differ: here %.*s; there %.*s",
             (int)here.len, here.failed ? "" : (char *)here.data, (int)there.len,
             there.failed ? "" : (char *)there.data);
    buf_free(&here);
    buf_free(&there);
}

static void waiting_peer(const struct cluster *c, const struct peer *p, struct buf *out)
{
    buf_printf(out, "%s%s", out->len > 0 ? ", " : "waiting for ", p->address);
    if (p->refusal[0] != '\0') {
        buf_printf(out, " (%s)", p->refusal);
    } else if (!p->up || !p->hello) {
        buf_put_str(out, " (no answer)");
    } else if (!founding_usable(c, p)) {
        buf_put_str(out, " (it has promised itself to another founder)");
    } else {
        buf_put_str(out, " (its promise)");
    }
}

void founding_waiting(struct cluster *c, struct buf *out)
{
    const struct peer *p;
    switch (c->founding) {
    case FOUNDING_GATHER:
    case FOUNDING_ASK:
        for (p = c->peers; p != NULL; p = p->next) {
            if (p->listed &&
                !(founding_usable(c, p) && (p->promised || c->founding == FOUNDING_GATHER))) {
                waiting_peer(c, p, out);
            }
        }
        break;
    case FOUNDING_WAIT:
    case FOUNDING_PROMISED:
        buf_printf(out, "waiting for %s to found the cluster",
                   c->nodes_count > 0 && !founding_is_founder(c) ? c->nodes[0] : "a node");
        for (p = c->peers; p != NULL; p = p->next) {
            if (p->refusal[0] != '\0') {
                buf_printf(out, "; %s: %s", p->address, p->refusal);
            }
        }
        break;
    case FOUNDING_STRANGER:
        for (p = c->peers; p != NULL; p = p->next) {
            if (p->hello && p->hello_state == HELLO_MEMBER) {
                buf_printf(out,
                           "%s is in a cluster that does not know this node; to add it, run: "
                           "usher add-node %s --at %s",
                           p->address, c->address, p->address);
                return;
            }
        }
        buf_put_str(out, "waiting for the cluster to answer");
        break;
    default: break;
    }
}

void founding_say(struct cluster *c)
{
    struct buf b = BUF_INIT;
    founding_waiting(c, &b);
    buf_put_u8(&b, 0);
    uint64_t now = now_ms(c);
    if (!b.failed && b.len > 1 && now - c->founding_since_ms >= QUIET_MS) {
        bool news = strncmp(c->founding_said, (char *)b.data, sizeof c->founding_said - 1) != 0;
        bool due = log_allowed(&c->said_log, now, REPEAT_MS);
        if (news || due) {
            snprintf(c->founding_said, sizeof c->founding_said, "%s", (char *)b.data);
            log_info("%s", c->founding_said);
        }
    }
    buf_free(&b);
}
