/* From files to a state, offline (see inspect.h).
 *
 *   newest snapshot that the log cannot replace -> log, entry by entry -> at the index of
 *   every later snapshot: load it and compare digests -> store_check()
 *
 * How it fails: a snapshot that does not load, an entry that cannot be read or does not fit,
 * a digest that differs: each becomes a finding that names entry or file, and replay stops
 * at the first entry that does not fit.
 *
 * Invariants
 *   1 nothing here writes anything
 *   2 without a finding, store is exactly the state after entry `index` */
#include "cluster/inspect.h"

#include <raft.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/mem.h"
#include "cluster/internal.h"
#include "cluster/message.h"

#define OTHER_STATE                                                                                \
    "its state is not that of the entries; move the directory away and rebuild the node from the " \
    "others: usher node --id N --rebuild"

static void found(struct journal_inspection *in, const char *fmt, uint64_t at,
                  const struct error *why)
{
    struct error e = { 0 };
    char what[64];
    (void)snprintf(what, sizeof what, fmt, (unsigned long long)at);
    error_set(&e, ERR_CORRUPT, "%s: %s", what, why->message);
    error_hint(&e, "%s", why->hint[0] != 0 ? why->hint : OTHER_STATE);
    journal_inspection_damaged(in, &e);
}

static void take_conf(struct cluster_inspection *out, uint64_t index, const void *data, size_t len)
{
    buf_clear(&out->conf);
    buf_put(&out->conf, data, len);
    out->conf_index = index;
}

/* Loads a snapshot; *store stays NULL when it is damaged (a finding). */
static int load(struct journal_inspection *in, const struct inspected_snapshot *s,
                struct store **store, struct cluster_inspection *conf_of, struct error *e)
{
    struct journal_snapshot_reader *r = NULL;
    struct buf meta = BUF_INIT;
    struct store_loader *loader = store_load_begin();
    uint8_t *piece = mem_alloc(SNAPSHOT_CHUNK_BYTES);
    struct span conf;
    uint64_t conf_index;
    size_t got = 1;
    int rc = loader == NULL || piece == NULL ? error_set(e, ERR_NOMEM, "out of memory")
                                             : journal_inspect_snapshot(in, s, &r, &meta, e);
    rc = rc != 0 ? rc
                 : snapshot_meta_get(span_make((char *)meta.data, meta.len), &conf_index, &conf, e);
    if (rc == 0 && conf_of != NULL) {
        take_conf(conf_of, conf_index, conf.data, conf.len);
    }
    while (rc == 0 && got > 0) {
        rc = journal_snapshot_read(r, piece, SNAPSHOT_CHUNK_BYTES, &got, e);
        rc = rc != 0 || got == 0 ? rc : store_load_feed(loader, piece, got, e);
    }
    if (rc == 0) {
        rc = store_load_end(loader, store, e);
    } else if (loader != NULL) {
        store_load_abort(loader);
    }
    journal_snapshot_close(r);
    buf_free(&meta);
    mem_free(piece);
    if (journal_inspection_is_damage(rc)) {
        found(in, "the state in the snapshot of entry %llu", s->index, e);
        error_clear(e);
        rc = 0;
    }
    return rc;
}

/* False: the log cannot be followed beyond this entry. */
static bool replay(struct journal_inspection *in, struct cluster_inspection *out, uint64_t index,
                   const struct journal_entry *entry)
{
    struct error e = { 0 };
    int rc = 0;
    switch (entry->type) {
    case RAFT_COMMAND:
        rc = entry_apply(out->store, entry->data, entry->len, index, &e);
        if (rc == 0) {
            store_group_commit(out->store);
        }
        out->commands++;
        break;
    case RAFT_CHANGE:
        rc = message_check_configuration(entry->data, entry->len, &e);
        if (rc == 0) {
            take_conf(out, index, entry->data, entry->len);
        }
        out->changes++;
        break;
    case RAFT_BARRIER: out->barriers++; break;
    default: rc = error_set(&e, ERR_CORRUPT, "its type %u is not known here", entry->type); break;
    }
    if (rc != 0) {
        found(in, "entry %llu", index, &e);
        return false;
    }
    out->index = index;
    return true;
}

/* The state by the log against the state by a snapshot of the same entry. */
static int compare(struct journal_inspection *in, const struct cluster_inspection *out,
                   const struct inspected_snapshot *s, struct error *e)
{
    struct store *other = NULL;
    int rc = load(in, s, &other, NULL, e);
    if (rc == 0 && other != NULL && store_digest(other) != store_digest(out->store)) {
        struct error why = { 0 };
        error_set(&why, ERR_CORRUPT, "its digest is %016llx, but the log gives %016llx",
                  (unsigned long long)store_digest(other),
                  (unsigned long long)store_digest(out->store));
        found(in, "the state in the snapshot of entry %llu", s->index, &why);
    }
    store_free(other);
    return rc;
}

/* Where to begin: the first snapshot from which the log goes on without a gap. */
static int begin(struct journal_inspection *in, struct cluster_inspection *out, size_t *next,
                 struct error *e)
{
    const struct journal_recovery *rec = &in->found;
    int rc = 0;
    *next = 0;
    if (rec->first_index == 1 || (in->has_log && in->snapshots_count == 0)) {
        out->store = store_new();
        return out->store != NULL ? 0 : error_set(e, ERR_NOMEM, "out of memory");
    }
    for (; *next < in->snapshots_count && out->store == NULL && rc == 0; ++*next) {
        const struct inspected_snapshot *s = &in->snapshots[*next];
        if (s->whole && rec->first_index <= s->index + 1) {
            rc = load(in, s, &out->store, out, e);
            out->index = s->index;
        }
    }
    return rc;
}

int cluster_inspect(struct journal_inspection *in, struct cluster_inspection *out, struct error *e)
{
    const struct journal_recovery *rec = &in->found;
    struct error local = { 0 };
    e = e != NULL ? e : &local;
    *out = (struct cluster_inspection){ 0 };
    size_t next;
    int rc = begin(in, out, &next, e);
    bool going = rc == 0 && out->store != NULL;
    for (size_t i = 0; i < rec->entries_count && going && rc == 0; i++) {
        uint64_t index = rec->first_index + i;
        going = index <= out->index || replay(in, out, index, &rec->entries[i]);
        while (going && rc == 0 && next < in->snapshots_count &&
               in->snapshots[next].index <= index) {
            const struct inspected_snapshot *s = &in->snapshots[next++];
            rc = s->whole && s->index == index ? compare(in, out, s, e) : 0;
        }
    }
    struct error why = { 0 };
    if (rc == 0 && out->store != NULL && store_check(out->store, &why) != 0) {
        found(in, "the state after entry %llu", out->index, &why);
    }
    if (rc == 0 && out->conf.failed) {
        rc = error_set(e, ERR_NOMEM, "out of memory");
    }
    return rc;
}

void cluster_inspection_free(struct cluster_inspection *out)
{
    store_free(out->store);
    buf_free(&out->conf);
    *out = (struct cluster_inspection){ 0 };
}

void cluster_inspection_members(const struct cluster_inspection *in, struct buf *json)
{
    static const char *const roles[] = {
        [RAFT_STANDBY] = "learner", [RAFT_VOTER] = "voter", [RAFT_SPARE] = "learner"
    };
    struct raft_buffer b = { in->conf.data, in->conf.len };
    struct raft_configuration conf;
    buf_put(json, "[", 1);
    if (in->conf.len > 0 && raft_configuration_decode(&b, &conf) == 0) {
        for (unsigned i = 0; i < conf.n; i++) {
            char id[24];
            (void)snprintf(id, sizeof id, "%016llx", conf.servers[i].id);
            json_put_comma(json);
            buf_put(json, "{", 1);
            json_field_string(json, "node", span_of(id));
            json_field_string(json, "address", span_of(conf.servers[i].address));
            json_field_string(json, "role", span_of(roles[conf.servers[i].role]));
            buf_put(json, "}", 1);
        }
        raft_configuration_close(&conf);
    }
    buf_put(json, "]", 1);
}
