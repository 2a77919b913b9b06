/* `usher check DATADIR`: what a stopped node's files hold, and whether they are whole.
 *
 *   lock -> every file of every format -> state from snapshots and log -> the store's
 *   invariants -> one answer; each finding on stderr with file, offset and what to do
 *
 * Changes nothing. Exit status: 0 all is well, 1 damaged, in use or not readable, 2 usage. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/inspect.h"
#include "console/console.h"
#include "console/render.h"
#include "raftio/env_uv.h"

static void field_hex(struct buf *b, const char *key, uint64_t v)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%016" PRIx64, v);
    json_field_string(b, key, span_of(text));
}

static void field_raw(struct buf *b, const char *key, const char *json)
{
    json_put_key(b, key);
    buf_put(b, json, strlen(json));
}

static void put_identity(struct buf *b, const struct journal_inspection *in)
{
    const struct journal_identity *id = &in->found.identity;
    if (!in->has_identity) {
        field_raw(b, "node", "null");
        return;
    }
    field_hex(b, "node", id->node_id);
    json_field_string(b, "address", span_of(id->address));
    if (id->cluster_id != 0) {
        field_hex(b, "cluster", id->cluster_id);
    } else {
        field_raw(b, "cluster", "null");
    }
}

static void put_log(struct buf *b, const struct journal_inspection *in)
{
    const struct journal_recovery *rec = &in->found;
    if (in->has_votes) {
        json_field_int(b, "term", (int64_t)rec->term);
        if (rec->vote != 0) {
            field_hex(b, "vote", rec->vote);
        } else {
            field_raw(b, "vote", "null");
        }
        json_field_int(b, "vote_copies", in->vote_bad < 0 ? 2 : 1);
    }
    json_field_int(b, "segments", (int64_t)in->segments);
    json_field_int(b, "entries", (int64_t)rec->entries_count);
    if (rec->entries_count > 0) {
        json_field_int(b, "first_index", (int64_t)rec->first_index);
        json_field_int(b, "last_index", (int64_t)(rec->first_index + rec->entries_count - 1));
        json_field_int(b, "last_term", (int64_t)rec->entries[rec->entries_count - 1].term);
    }
    json_field_int(b, "log_bytes", (int64_t)in->log_bytes);
    json_field_int(b, "torn_bytes", (int64_t)rec->cut_bytes);
}

static void put_snapshots(struct buf *b, const struct journal_inspection *in)
{
    json_put_key(b, "snapshots");
    buf_put(b, "[", 1);
    for (size_t i = 0; i < in->snapshots_count; i++) {
        json_put_comma(b);
        buf_put(b, "{", 1);
        json_field_int(b, "index", (int64_t)in->snapshots[i].index);
        json_field_int(b, "term", (int64_t)in->snapshots[i].term);
        json_field_int(b, "bytes", (int64_t)in->snapshots[i].bytes);
        json_field_bool(b, "whole", in->snapshots[i].whole);
        buf_put(b, "}", 1);
    }
    buf_put(b, "]", 1);
}

static void put_state(struct buf *b, const struct cluster_inspection *state)
{
    if (state->store == NULL) {
        field_raw(b, "index", "null");
        return;
    }
    struct store_stats n;
    store_stats(state->store, &n);
    json_put_key(b, "members");
    cluster_inspection_members(state, b);
    json_field_int(b, "index", (int64_t)state->index);
    field_hex(b, "digest", store_digest(state->store));
    json_field_int(b, "charts", (int64_t)n.charts);
    json_field_int(b, "events", (int64_t)n.events);
    json_field_int(b, "seats", (int64_t)n.seats);
    json_field_int(b, "orders_live", (int64_t)n.orders_live);
    json_field_int(b, "orders_ended", (int64_t)n.orders_ended);
    json_field_int(b, "kv", (int64_t)n.kv);
    json_field_int(b, "results", (int64_t)n.results);
}

/* Names that no version of ours has written here: told, not judged. */
static void put_others(struct buf *b, const struct journal_inspection *in)
{
    json_field_int(b, "unfinished", (int64_t)in->unfinished);
    if (in->others.len == 0) {
        return;
    }
    json_put_key(b, "other_files");
    buf_put(b, "[", 1);
    for (size_t at = 0; at < in->others.len;) {
        struct span name = span_of((const char *)in->others.data + at);
        json_put_comma(b);
        json_put_string(b, name);
        at += name.len + 1;
    }
    buf_put(b, "]", 1);
}

static void put_damage(struct buf *b, const struct journal_inspection *in)
{
    json_field_string(b, "result", span_of(in->damage_count == 0 ? "good" : "damaged"));
    if (in->damage_count == 0) {
        return;
    }
    json_put_key(b, "damage");
    buf_put(b, "[", 1);
    for (size_t i = 0; i < in->damage_count; i++) {
        json_put_comma(b);
        json_put_string(b, span_of(in->damage[i].message));
    }
    buf_put(b, "]", 1);
}

/* The order of reading: what it is, what it holds, whether it is whole. */
static const char columns[] =
    "[\"directory\",\"node\",\"address\",\"cluster\",\"members\",\"term\",\"vote\","
    "\"vote_copies\",\"segments\",\"entries\",\"first_index\",\"last_index\",\"last_term\","
    "\"log_bytes\",\"torn_bytes\",\"snapshots\",\"index\",\"digest\",\"charts\",\"events\","
    "\"seats\",\"orders_live\",\"orders_ended\",\"kv\",\"results\",\"unfinished\","
    "\"other_files\",\"result\",\"damage\"]";

static int report(const char *dir, const char *format, const struct journal_inspection *in,
                  const struct cluster_inspection *state)
{
    struct buf json = BUF_INIT;
    struct render *render;
    struct error e = { 0 };
    buf_put(&json, "{", 1);
    json_field_string(&json, "directory", span_of(dir));
    put_identity(&json, in);
    put_log(&json, in);
    put_snapshots(&json, in);
    put_state(&json, state);
    put_others(&json, in);
    put_damage(&json, in);
    buf_put(&json, "}", 1);
    if (json.failed || render_new(format, stdout, &render, &e) != 0) {
        render_error(&e, span_make("", 0));
        buf_free(&json);
        return EXIT_USAGE;
    }
    render_print(render, span_make((const char *)json.data, json.len), span_of(columns));
    render_free(render);
    buf_free(&json);
    (void)fflush(stdout);
    for (size_t i = 0; i < in->damage_count; i++) {
        render_error(&in->damage[i], span_make("", 0));
    }
    return in->damage_count == 0 ? EXIT_DONE : EXIT_REFUSED;
}

static int check(struct env *env, const char *dir, const char *format)
{
    struct journal_inspection in;
    struct cluster_inspection state = { 0 };
    struct error e = { 0 };
    int rc = journal_inspect(env, dir, &in, &e);
    rc = rc != 0 ? rc : cluster_inspect(&in, &state, &e);
    int status;
    if (rc != 0) {
        render_error(&e, span_make("", 0));
        status = EXIT_REFUSED;
    } else {
        status = report(dir, format, &in, &state);
    }
    cluster_inspection_free(&state);
    journal_inspection_free(&in);
    return status;
}

int check_main(const char *format, int argc, char **argv)
{
    if (argc != 1 || argv[0][0] == '-') {
        (void)fprintf(stderr, "usher: check takes one data directory\n\n"
                              "usher check DATADIR [-w table|json|lua|csv]\n");
        return EXIT_USAGE;
    }
    uv_loop_t loop;
    struct env *env;
    struct error e = { 0 };
    log_set_level(LOG_ERROR); /* what is found is the answer */
    if (uv_loop_init(&loop) != 0) {
        (void)fprintf(stderr, "usher: out of descriptors\n");
        return EXIT_REFUSED;
    }
    int status = EXIT_REFUSED;
    if (env_uv_new(&loop, &env, &e) == 0) {
        status = check(env, argv[0], format);
        env_uv_free(env);
        (void)uv_run(&loop, UV_RUN_DEFAULT);
    } else {
        render_error(&e, span_make("", 0));
    }
    (void)uv_loop_close(&loop);
    return status;
}
