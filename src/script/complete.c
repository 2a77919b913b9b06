/* What a console needs beside its statements: completion of the line that is being typed, and
 * what the prompt says of this node.
 *
 * Completion runs as a task of the session (lua/usher/complete.lua): in slices, under its
 * budget, as its user, with its variables in sight. */
#include <string.h>

#include "base/embed.h"
#include "base/json.h"
#include "policy/lua_json.h"
#include "script/script_impl.h"

struct completion {
    struct task *t;
    struct session *x;
    struct span line;
};

/* Protected: the coroutine. */
static int build(lua_State *L)
{
    struct completion *c = lua_touserdata(L, 1);
    struct error e;
    const struct embed_file *file = embed_find("usher/complete");
    lua_State *co = lua_newthread(L);
    c->t->co = co;
    c->t->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    if (file == NULL ||
        sandbox_compile(L, span_make(file->text, file->len), "usher/complete.lua", &e) != 0) {
        return luaL_error(L, "usher/complete.lua: %s", file != NULL ? e.message : "missing");
    }
    (void)script_push_host(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->x->env);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->x->vm->sandbox.globals);
    lua_pushlstring(L, c->line.data, c->line.len);
    lua_xmove(L, co, 5);
    c->t->args = 4;
    return 0;
}

struct task *scripts_complete(struct session *x, struct span line, const struct task_events *on,
                              void *arg)
{
    struct error e;
    struct task *t = task_new(x->vm, x, "completion", &x->user.user);
    if (t == NULL) {
        return NULL;
    }
    struct completion c = { t, x, line };
    t->on = on;
    t->arg = arg;
    if (vm_protected(x->vm, build, &c, &e) == 0) {
        task_start(t);
    } else {
        task_fail(t, 1, &e);
    }
    return t;
}

/* ---- The prompt -------------------------------------------------------------------------------
 */

struct own_place {
    const char *json, *address;
    lua_Integer index; /* in the profile's list, from 0; -1: not in it */
};

static int find_place(lua_State *L)
{
    struct own_place *p = lua_touserdata(L, 1);
    lua_json_decode(L, span_of(p->json));
    luaL_checktype(L, -1, LUA_TTABLE);
    if (lua_getfield(L, -1, "nodes") == LUA_TTABLE) {
        for (lua_Integer i = 1; lua_rawgeti(L, -1, i) == LUA_TSTRING; i++) {
            if (strcmp(lua_tostring(L, -1), p->address) == 0) {
                p->index = i - 1;
            }
            lua_pop(L, 1);
        }
    }
    return 0;
}

void scripts_prompt(struct scripts *s, struct buf *out)
{
    struct cluster_status st;
    struct error e;
    char name[32];
    if (s->cluster == NULL) {
        buf_put_str(out, "{}");
        return;
    }
    cluster_status(s->cluster, &st);
    struct own_place p = { s->config_json, st.address, -1 };
    (void)vm_protected(s->shipped, find_place, &p, &e);
    (void)snprintf(name, sizeof name, "node%d", (int)p.index);
    buf_put_u8(out, '{');
    json_field_string(out, "node", p.index >= 0 ? span_of(name) : span_of(st.address));
    json_field_string(out, "role", span_of(cluster_role_name(st.role)));
    json_field_string(out, "profile", span_of(s->profile));
    json_field_string(out, "address", span_of(st.address));
    json_field_int(out, "commands", (int64_t)registry_changes(s->registry));
    buf_put_u8(out, '}');
}
