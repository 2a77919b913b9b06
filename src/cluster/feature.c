/* The cluster's feature level: switched on by an entry once every member can read it.
 *
 *   handshake: each shows the level of its program -> the leader, ready, sees that every
 *   member is linked and knows more than the cluster's level -> an entry sets the record
 *   "feature-level" -> later entries carry the new level in their head
 *
 * The level only rises. What cannot read it is kept out: a program of a lower level is
 * refused at the handshake, does not start on data of a higher level, and ends when it meets
 * an entry of one, always saying that a newer version is needed and that nothing is damaged.
 *
 * Invariants
 *   FL1 an entry of level L stands behind an entry that raised the level to L or higher
 *   FL2 when the level was raised, every member of the newest configuration was linked to the
 *       leader and had shown that level or a higher one */
#define LOG_MODULE "cluster"

#include "cluster/feature.h"

#include <stdio.h>

#include "base/log.h"
#include "cluster/internal.h"

#define RECORD_NAME  "feature-level"
#define SAY_EVERY_MS 60000

uint32_t feature_of_store(const struct store *s)
{
    struct span bytes = store_record(s, span_of(RECORD_NAME));
    struct reader r;
    reader_init(&r, bytes.data, bytes.len);
    uint32_t level = reader_u32(&r);
    return r.failed || level == 0 ? 1 : level;
}

uint32_t cluster_feature_level(const struct cluster *c) { return feature_of_store(c->store); }

uint32_t feature_own(const struct cluster *c)
{
    return c->o.feature_level != 0 ? c->o.feature_level : FEATURE_LEVEL;
}

static int too_old(uint32_t needed, uint32_t own, const char *what, struct error *e)
{
    error_set(e, ERR_CONFLICT, "%s of feature level %u; this program knows levels up to %u", what,
              needed, own);
    error_hint(e, "start this node with a newer usher, as the others have it; its data is whole");
    return ERR_CONFLICT;
}

int feature_check_store(const struct cluster *c, const struct store *s, struct error *e)
{
    uint32_t level = feature_of_store(s);
    return level <= feature_own(c) ? 0 : too_old(level, feature_own(c), "the state is", e);
}

int feature_check_entry(const struct cluster *c, uint64_t index, const void *data, size_t len,
                        struct error *e)
{
    struct reader r;
    char what[48];
    reader_init(&r, data, len);
    (void)reader_u32(&r); /* format version: entry_open() judges it */
    uint32_t level = reader_u32(&r);
    if (r.failed || level <= feature_own(c)) {
        return 0;
    }
    (void)snprintf(what, sizeof what, "entry %llu is", (unsigned long long)index);
    return too_old(level, feature_own(c), what, e);
}

int feature_admit(const struct cluster *c, const struct transport_peer *peer, struct error *e)
{
    uint32_t level = cluster_feature_level(c);
    if (peer->feature_level >= level) {
        return 0;
    }
    error_set(e, ERR_CONFLICT,
              "%s runs a program of feature level %u, but this cluster writes level %u",
              peer->address, peer->feature_level, level);
    error_hint(e, "start %s with a newer usher, as the others have it", peer->address);
    return ERR_CONFLICT;
}

/* The highest level that every member knows (FL2); 0 while one of them is not linked.
 * `oldest` is whoever holds it down. */
static uint32_t common_level(const struct cluster *c, const char **oldest)
{
    uint32_t level = feature_own(c);
    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        const struct raft_server *s = &c->raft.configuration.servers[i];
        if (s->id == c->raft.id) {
            continue;
        }
        const struct peer *p = peer_find((struct cluster *)(uintptr_t)c, s->address);
        uint32_t shown = p != NULL && p->up ? p->feature_level : 0;
        if (shown < level) {
            level = shown;
            *oldest = s->address;
        }
    }
    return level;
}

void feature_run(struct cluster *c)
{
    uint32_t level = cluster_feature_level(c);
    const char *oldest = "";
    if (feature_own(c) <= level || !c->ready || !cluster_leads(c) || c->batch) {
        return;
    }
    uint32_t common = common_level(c, &oldest);
    if (common <= level) {
        if (common != 0 && log_allowed(&c->feature_log, now_ms(c), SAY_EVERY_MS)) {
            log_info("entries are written with feature level %u, as %s knows no higher one; this "
                     "program knows %u",
                     level, oldest, feature_own(c));
        }
        return;
    }
    struct buf b = BUF_INIT;
    buf_put_u32(&b, common);
    struct error e = { 0 };
    int rv = b.failed
                 ? ERR_NOMEM
                 : record_save(c, RECORD_NAME, span_make((const char *)b.data, b.len), NULL, &e);
    buf_free(&b);
    if (rv == 0) {
        log_info("every member knows feature level %u: the cluster goes on with it (it was %u)",
                 common, level);
    } /* else: full pipeline or the like; the next pump tries again */
}
