/* node.backup() and node.snapshot(): what the commands of lua/commands/node/backup.lua are
 * written over. */
#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "cluster/backup.h"
#include "policy/lua_json.h"
#include "script/script_impl.h"

static struct cluster *cluster_of(lua_State *L)
{
    struct cluster *c = script_vm(L)->scripts->cluster;
    if (c == NULL) {
        luaL_error(L, "the node is starting");
    }
    return c;
}

static struct await *new_await(lua_State *L)
{
    struct await *a = await_new(task_current(L));
    if (a == NULL) {
        luaL_error(L, "out of memory");
    }
    return a;
}

static void field_hex(struct buf *b, const char *key, uint64_t v)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%016" PRIx64, v);
    json_field_string(b, key, span_of(text));
}

static void put_facts(struct buf *b, const struct backup_head *h, const char *path, uint64_t bytes)
{
    buf_put_str(b, "{");
    json_field_string(b, "file", span_of(path));
    json_field_int(b, "index", (int64_t)h->index);
    json_field_int(b, "bytes", (int64_t)bytes);
    field_hex(b, "digest", h->digest);
    json_field_int(b, "time", (int64_t)h->time_ms);
    field_hex(b, "cluster", h->cluster_id);
    json_field_string(b, "node", span_of(h->address));
    buf_put_str(b, "}");
}

static void on_backup(void *arg, int status, const struct error *e, const struct backup_head *head,
                      const char *path, uint64_t bytes)
{
    struct await *a = arg;
    a->code = status;
    buf_clear(&a->json);
    if (status != 0) {
        a->error = *e;
    } else {
        put_facts(&a->json, head, path, bytes);
    }
    await_ready(a);
}

static void on_snapshot(void *arg, int status)
{
    struct await *a = arg;
    a->code = status;
    buf_clear(&a->json);
    if (status != 0) {
        (void)error_set(&a->error, status, "no snapshot was written (%s)", error_text(status));
        error_hint(&a->error, "%s",
                   status == ERR_NOSPACE ? "make room on this node's disk"
                                         : "try again when this node serves: `status`");
    } else {
        buf_put_str(&a->json, "true");
    }
    await_ready(a);
}

/* -> the answer | nil, message, code, hint */
static int finish(lua_State *L, int status, lua_KContext context)
{
    (void)status, (void)context;
    return await_json(L, await_end(L), "null");
}

/* node.backup(name, local): into backups/NAME of this node's data directory */
int node_backup(lua_State *L)
{
    struct cluster *c = cluster_of(L);
    size_t len;
    const char *name = luaL_checklstring(L, 1, &len);
    bool local = lua_toboolean(L, 2) != 0;
    struct await *a = new_await(L);
    a->pending = true;
    cluster_backup_file(c, local, span_make(name, len), on_backup, a);
    return await_yield(L, a, finish);
}

/* node.snapshot(): writes one now */
int node_snapshot(lua_State *L)
{
    struct cluster *c = cluster_of(L);
    struct await *a = new_await(L);
    cluster_snapshot(c, on_snapshot, a);
    return await_yield(L, a, finish);
}

/* node.snapshot_bytes() -> of the newest one */
int node_snapshot_bytes(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)cluster_snapshot_bytes(cluster_of(L)));
    return 1;
}
