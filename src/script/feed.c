/* node.feed(kind[, event]): follows what happens, from a node command.
 *
 *   local feed <close> = node.feed("changes", "1")      changes | requests | commits
 *   local text, index = feed:next([ms])                 nil: nothing came in that time
 *
 * What comes while nobody asks is kept, up to FEED_BYTES_MAX; a reader that falls behind that,
 * or whose state was replaced by a snapshot, gets an error and begins anew. A feed belongs to
 * the task that made it: it ends with it, however it ends.
 *
 * States: OPEN (w != NULL) -> ENDED (closed, lost, or its task is gone). */
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "script/script_impl.h"

#define FEED_META "usher.feed"

struct feed {
    struct feed *next;   /* of its task */
    struct task *task;   /* NULL: gone */
    struct watch *watch; /* NULL: ended */
    struct request_sink *sink;
    bool waiting; /* the task sleeps in next() */
    bool lost;
    const char *why;
    struct buf items; /* varint index, varint length, bytes */
    size_t at;
};

static void close_feed(struct feed *f)
{
    if (f->watch != NULL) {
        f->sink->unfeed(f->sink->arg, f->watch);
        f->watch = NULL;
    }
}

static void lose(struct feed *f, const char *why)
{
    f->lost = true;
    f->why = why;
    close_feed(f);
}

static void on_item(void *arg, uint64_t index, struct span json)
{
    struct feed *f = arg;
    if (index == 0 && json.len == 0) {
        lose(f, "a snapshot replaced the state: changes went by unseen");
    } else if (f->items.len - f->at + json.len > FEED_BYTES_MAX) {
        lose(f, "its reader is too slow: more came than is kept");
    } else {
        if (f->at > 0 && f->at == f->items.len) {
            buf_clear(&f->items);
            f->at = 0;
        }
        buf_put_varint(&f->items, index);
        buf_put_bytes(&f->items, json.data, json.len);
        if (f->items.failed) {
            lose(f, "out of memory");
        }
    }
    if (f->waiting && f->task != NULL) {
        f->waiting = false;
        f->task->vm->scripts->env->ops->timer_stop(f->task->timer);
        task_wake(f->task);
    }
}

void feeds_end(struct task *t)
{
    while (t->feeds != NULL) {
        struct feed *f = t->feeds;
        t->feeds = f->next;
        f->task = NULL;
        close_feed(f);
        buf_free(&f->items);
        mem_free(f);
    }
}

/* The userdata holds a pointer: the feed itself lives and dies with its task. */
static struct feed *check_feed(lua_State *L)
{
    struct feed **slot = luaL_checkudata(L, 1, FEED_META);
    struct task *t = task_current(L);
    for (struct feed *f = t->feeds; f != NULL; f = f->next) {
        if (f == *slot) {
            return f;
        }
    }
    luaL_error(L, "this feed has ended");
    return NULL;
}

static int feed_end(lua_State *L)
{
    struct feed **slot = luaL_checkudata(L, 1, FEED_META);
    struct task *t = script_vm(L)->scripts->running;
    for (struct feed **at = t != NULL ? &t->feeds : NULL; at != NULL && *at != NULL;
         at = &(*at)->next) {
        struct feed *f = *at;
        if (f == *slot) {
            *at = f->next;
            close_feed(f);
            buf_free(&f->items);
            mem_free(f);
            break;
        }
    }
    *slot = NULL;
    return 0;
}

/* [-0, +2] The oldest item, or false. */
static bool take(lua_State *L, struct feed *f)
{
    struct reader r;
    if (f->at == f->items.len) {
        return false;
    }
    reader_init(&r, f->items.data + f->at, f->items.len - f->at);
    uint64_t index = reader_varint(&r);
    struct span text = reader_bytes(&r);
    f->at = f->items.len - reader_left(&r);
    lua_pushlstring(L, text.data, text.len);
    lua_pushinteger(L, (lua_Integer)index);
    return true;
}

static int next_done(lua_State *L, int status, lua_KContext context)
{
    struct feed *f = check_feed(L);
    (void)status, (void)context;
    f->waiting = false;
    if (take(L, f)) {
        return 2;
    }
    if (f->lost) {
        lua_pushnil(L);
        lua_pushstring(L, f->why);
        lua_pushliteral(L, "UNKNOWN");
        return 3;
    }
    lua_pushnil(L);
    return 1;
}

static int feed_next(lua_State *L)
{
    struct feed *f = check_feed(L);
    struct task *t = f->task;
    lua_Integer ms = luaL_optinteger(L, 2, 1000);
    luaL_argcheck(L, ms >= 0 && ms <= 60000, 2, "at most a minute");
    if (f->at < f->items.len || f->lost || !lua_isyieldable(L)) {
        return next_done(L, LUA_OK, 0);
    }
    f->waiting = true;
    t->state = TASK_SLEEPING;
    t->vm->scripts->env->ops->timer_start(t->timer, (uint64_t)ms);
    return lua_yieldk(L, 0, 0, next_done);
}

static int feed_new(lua_State *L)
{
    static const char *const kinds[] = { "changes", "requests", "commits", NULL };
    struct task *t = task_current(L);
    struct request_sink *sink = &t->vm->scripts->sink;
    int kind = luaL_checkoption(L, 1, NULL, kinds);
    struct span event;
    event.data = luaL_optlstring(L, 2, "", &event.len);
    struct feed **slot = lua_newuserdatauv(L, sizeof *slot, 0);
    *slot = NULL;
    luaL_setmetatable(L, FEED_META);
    struct feed *f = sink->feed != NULL ? mem_zalloc(sizeof *f) : NULL;
    if (f == NULL) {
        return luaL_error(L, "out of memory");
    }
    f->task = t;
    f->sink = sink;
    f->watch = sink->feed(sink->arg, kind, event, on_item, f);
    if (f->watch == NULL) {
        mem_free(f);
        return luaL_error(L, "out of memory");
    }
    f->next = t->feeds;
    t->feeds = f;
    *slot = f;
    return 1;
}

void feed_open_lib(lua_State *L)
{
    static const luaL_Reg methods[] = { { "next", feed_next }, { NULL, NULL } };
    luaL_newmetatable(L, FEED_META);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, feed_end);
    lua_setfield(L, -2, "__close");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    lua_pushcfunction(L, feed_new);
    lua_setfield(L, -2, "feed");
}
