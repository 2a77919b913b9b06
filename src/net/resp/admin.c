/* What client libraries ask of a server before they begin: CLIENT, COMMAND, INFO. */
#include <string.h>

#include "base/text.h"
#include "net/resp/conn.h"

void admin_client(struct conn *c, struct slot *x)
{
    struct span sub = x->argc > 1 ? x->argv[1] : span_of("");
    if (text_ieq(sub, span_of("SETNAME")) && x->argc == 3) {
        if (x->argv[2].len > ID_BYTES_MAX) {
            verb_fail(x, ERR_TOOBIG, "use a shorter name", "a name has at most %d bytes",
                      ID_BYTES_MAX);
            return;
        }
        buf_clear(&c->name);
        buf_put(&c->name, x->argv[2].data, x->argv[2].len);
        verb_ok(x);
    } else if (text_ieq(sub, span_of("GETNAME")) && x->argc == 2) {
        if (c->name.len > 0) {
            put_bulk(slot_out(x), span_make((const char *)c->name.data, c->name.len));
        } else {
            put_null(slot_out(x), c->resp3);
        }
        slot_done(x);
    } else if (text_ieq(sub, span_of("ID")) && x->argc == 2) {
        put_int(slot_out(x), (int64_t)c->id);
        slot_done(x);
    } else if (text_ieq(sub, span_of("SETINFO")) && x->argc == 4) {
        verb_ok(x); /* library name and version: nothing of ours depends on them */
    } else {
        verb_fail(x, ERR_BADARG, "CLIENT SETNAME NAME | GETNAME | SETINFO KEY VALUE | ID",
                  "this CLIENT subcommand is not known");
    }
}

/* ---- COMMAND --------------------------------------------------------------------- */

static size_t verb_count(void)
{
    size_t n = 0;
    while (verb_names[n] != NULL) {
        n++;
    }
    return n;
}

/* Redis' arity: exact when positive, "at least" when negative, the name included. */
static int64_t arity(const struct command_def *def)
{
    int64_t need = 1;
    bool open = def->args_count == 0;
    for (size_t i = 0; i < def->args_count; i++) {
        const struct arg_def *a = &def->args[i];
        if (a->option || a->optional || a->many || a->dflt != NULL) {
            open = true;
        }
        if (!a->option && !a->optional && a->dflt == NULL) {
            need++;
        }
    }
    return open ? -need : need;
}

static void put_entry(struct conn *c, struct buf *b, const char *name, int64_t n, bool reads)
{
    (void)c;
    put_array(b, 6);
    put_text(b, name);
    put_int(b, n);
    put_array(b, 1);
    put_simple(b, reads ? "readonly" : "write");
    put_int(b, 0); /* no keys: nothing to route by */
    put_int(b, 0);
    put_int(b, 0);
}

static void command_list(struct conn *c, struct slot *x)
{
    const struct registry *r = service_registry(c->server->o.service);
    struct buf *b = slot_out(x);
    put_array(b, verb_count() + registry_count(r));
    for (size_t i = 0; verb_names[i] != NULL; i++) {
        put_entry(c, b, verb_names[i], -1, true);
    }
    for (size_t i = 0; i < registry_count(r); i++) {
        const struct command_def *def = registry_at(r, i);
        put_entry(c, b, def->name, arity(def), def->read != READ_NONE);
    }
    slot_done(x);
}

static void put_doc(struct conn *c, struct buf *b, const struct command_def *def)
{
    struct buf usage = BUF_INIT;
    command_usage(def, &usage);
    put_text(b, def->name);
    put_map(b, c->resp3, 4);
    put_text(b, "summary");
    put_text(b, def->summary != NULL ? def->summary : "");
    put_text(b, "since");
    put_text(b, USHER_VERSION);
    put_text(b, "group");
    put_text(b, def->group);
    put_text(b, "usage");
    put_bulk(b, span_make(usage.data != NULL ? (const char *)usage.data : "", usage.len));
    buf_free(&usage);
}

static void command_docs(struct conn *c, struct slot *x)
{
    const struct registry *r = service_registry(c->server->o.service);
    struct buf *b = slot_out(x);
    size_t known = 0;
    if (x->argc == 2) {
        put_map(b, c->resp3, registry_count(r));
        for (size_t i = 0; i < registry_count(r); i++) {
            put_doc(c, b, registry_at(r, i));
        }
        slot_done(x);
        return;
    }
    for (size_t i = 2; i < x->argc; i++) {
        known += registry_find(r, x->argv[i]) != NULL;
    }
    put_map(b, c->resp3, known);
    for (size_t i = 2; i < x->argc; i++) {
        const struct command_def *def = registry_find(r, x->argv[i]);
        if (def != NULL) {
            put_doc(c, b, def);
        }
    }
    slot_done(x);
}

void admin_command(struct conn *c, struct slot *x)
{
    struct span sub = x->argc > 1 ? x->argv[1] : span_of("");
    if (x->argc == 1) {
        command_list(c, x);
    } else if (text_ieq(sub, span_of("COUNT")) && x->argc == 2) {
        put_int(slot_out(x),
                (int64_t)(verb_count() + registry_count(service_registry(c->server->o.service))));
        slot_done(x);
    } else if (text_ieq(sub, span_of("DOCS"))) {
        command_docs(c, x);
    } else {
        verb_fail(x, ERR_BADARG, "COMMAND [COUNT | DOCS [NAME...]]",
                  "this COMMAND subcommand is not known");
    }
}

/* ---- INFO ------------------------------------------------------------------------- */

static void info_cluster(struct conn *c, struct buf *b)
{
    struct cluster *cluster = service_cluster(c->server->o.service);
    struct cluster_status st;
    if (cluster == NULL) {
        return;
    }
    cluster_status(cluster, &st);
    buf_printf(b,
               "\r\n# Cluster\r\naddress:%s\r\nrole:%s\r\nleader:%s\r\nterm:%llu\r\n"
               "commit:%llu\r\napplied:%llu\r\nmembers:%zu\r\nentries_in_flight:%llu\r\n",
               st.address, cluster_role_name(st.role), st.leader, (unsigned long long)st.term,
               (unsigned long long)st.commit, (unsigned long long)st.applied, st.members_count,
               (unsigned long long)st.entries_in_flight);
}

void admin_info(struct conn *c, struct slot *x)
{
    struct buf text = BUF_INIT;
    struct service_counters n;
    service_counters(c->server->o.service, &n);
    /* redis_version is what client libraries look at to know what they may send. */
    buf_printf(&text,
               "# Server\r\nserver:usher\r\nusher_version:%s\r\nredis_version:7.0.0\r\n"
               "connected_clients:%zu\r\n",
               USHER_VERSION, resp_connections(c->server));
    if (c->user.access >= ACCESS_OPERATOR) { /* as `leader` and `nodes` */
        info_cluster(c, &text);
    }
    buf_printf(&text,
               "\r\n# Service\r\nrequests:%llu\r\ngranted:%llu\r\nrefused:%llu\r\nunknown:%llu\r\n"
               "forwarded:%llu\r\nbatches:%llu\r\nbatched_requests:%llu\r\nreads_local:%llu\r\n"
               "reads_linearizable:%llu\r\nqueue:%llu\r\nduplicates:%llu\r\nexpired:%llu\r\n",
               (unsigned long long)n.requests, (unsigned long long)n.granted,
               (unsigned long long)n.refused, (unsigned long long)n.unknown,
               (unsigned long long)n.forwarded, (unsigned long long)n.batches,
               (unsigned long long)n.batched_requests, (unsigned long long)n.reads_local,
               (unsigned long long)n.reads_linearizable, (unsigned long long)n.queue,
               (unsigned long long)n.duplicates, (unsigned long long)n.expired);
    put_bulk(slot_out(x), span_make((const char *)text.data, text.len));
    buf_free(&text);
    slot_done(x);
}
