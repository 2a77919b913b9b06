/* `usher restore FILE --data DIR`: a backup becomes the first node of a new cluster.
 *
 * The answer says what the file held and who the new cluster is; the sentence after it what
 * to do next. Exit status: 0 done, 1 refused (nothing was changed), 2 usage. */
#include <inttypes.h>
#include <stdio.h>

#include "base/json.h"
#include "cluster/restore.h"
#include "console/backup.h"
#include "console/console.h"
#include "console/offline.h"
#include "console/render.h"

static void field_hex(struct buf *b, const char *key, uint64_t v)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%016" PRIx64, v);
    json_field_string(b, key, span_of(text));
}

static void put_result(struct buf *b, const char *dir, const char *address,
                       const struct restore_result *r)
{
    buf_put_str(b, "{");
    json_field_string(b, "data", span_of(dir));
    json_field_string(b, "address", span_of(address));
    field_hex(b, "cluster", r->cluster_id);
    field_hex(b, "node", r->node_id);
    field_hex(b, "from_cluster", r->head.cluster_id);
    json_field_string(b, "from_node", span_of(r->head.address));
    json_field_int(b, "index", (int64_t)r->head.index);
    json_field_int(b, "time", (int64_t)r->head.time_ms);
    field_hex(b, "digest", r->head.digest);
    json_field_int(b, "charts", (int64_t)r->stats.charts);
    json_field_int(b, "events", (int64_t)r->stats.events);
    json_field_int(b, "seats", (int64_t)r->stats.seats);
    json_field_int(b, "orders_live", (int64_t)r->stats.orders_live);
    json_field_int(b, "orders_ended", (int64_t)r->stats.orders_ended);
    json_field_int(b, "kv", (int64_t)r->stats.kv);
    json_field_int(b, "results", (int64_t)r->stats.results);
    buf_put_str(b, "}");
}

static int restore(struct offline *o, const char *file, const char *dir, const char *address,
                   struct restore_result *result, struct error *e)
{
    struct restore *x = NULL;
    int rc = restore_write(o->env, file, dir, address, result, &x, offline_done, o, e);
    if (x != NULL) {
        offline_run(o);
        if (rc == 0) {
            rc = restore_finish(x, e);
        } else {
            restore_abandon(x);
        }
    }
    return rc;
}

int restore_main(const char *format, const char *file, const char *dir, const char *address)
{
    struct offline o;
    struct restore_result result;
    struct render *render;
    struct error e = { 0 };
    if (render_new(format, stdout, &render, &e) != 0) {
        render_error(&e, span_make("", 0));
        return EXIT_USAGE;
    }
    int rc = offline_open(&o, &e);
    if (rc == 0) {
        rc = restore(&o, file, dir, address, &result, &e);
        offline_close(&o);
    }
    if (rc != 0) {
        render_error(&e, span_make("", 0));
    } else {
        struct buf json = BUF_INIT;
        put_result(&json, dir, address, &result);
        render_print(render, span_make((const char *)json.data, json.len), span_make("", 0));
        buf_free(&json);
        (void)fflush(stdout);
        (void)fprintf(stderr,
                      "This is a new cluster of one node. Start %s, then add the others with "
                      "`usher add-node ADDR --at %s`, each with an empty data directory.\n",
                      address, address);
    }
    render_free(render);
    return rc != 0 ? EXIT_REFUSED : EXIT_DONE;
}
