/* Node commands: command{...} tables of the shipped files and of node scripts.
 *
 * A vm keeps its definitions with a reference on each and their functions in a table by name;
 * the registry gets all of them anew whenever the set changes. A script's command may stand
 * in for a shipped one of the same name; two scripts must not define the same. */
#define LOG_MODULE "script"
#include <string.h>

#include "base/mem.h"
#include "policy/command_lua.h"
#include "policy/lua_json.h"
#include "script/script_impl.h"

void command_keep(lua_State *L, const char *file)
{
    struct vm *vm = script_vm(L);
    struct command_def *def;
    struct error e;
    int definition = lua_gettop(L);
    if (command_def_from_lua(L, definition, COMMAND_NODE, &def, &e) != 0) {
        luaL_error(L, "%s: %s", file, e.message);
    }
    size_t bytes = (vm->defs_count + 1) * sizeof *vm->defs;
    struct command_def **defs = mem_realloc(vm->defs, bytes);
    if (defs == NULL) {
        command_def_free(def);
        luaL_error(L, "%s: out of memory", file);
        return; /* never: the analyser does not know it */
    }
    vm->defs = defs;
    vm->defs[vm->defs_count++] = def; /* freed with the vm, whatever happens now */
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->commands);
    push_runtime(L, "functions");
    lua_pushvalue(L, definition);
    lua_call(L, 1, 1);
    lua_setfield(L, -2, def->name);
    lua_settop(L, definition - 1);
}

static bool shown(const struct vm *vm)
{
    return !vm->retired && !vm->loading && vm->kind != VM_SESSION;
}

struct vm *command_vm(const struct scripts *s, const struct command_def *def)
{
    for (struct vm *vm = s->vms; vm != NULL; vm = vm->next) {
        for (size_t i = 0; shown(vm) && i < vm->defs_count; i++) {
            if (vm->defs[i] == def) {
                return vm;
            }
        }
    }
    return NULL;
}

static int publish_vm(struct scripts *s, const struct vm *vm, struct error *e)
{
    for (size_t i = 0; i < vm->defs_count; i++) {
        struct command_def *def = vm->defs[i];
        const struct command_def *old = registry_find(s->registry, span_of(def->name));
        const struct vm *other = old != NULL ? command_vm(s, old) : NULL;
        if (other != NULL && other != s->shipped && strcmp(old->name, def->name) == 0) {
            return error_set(e, ERR_CONFLICT, "%s: the command '%s' is defined by %s already",
                             vm->name, def->name, other->name);
        }
        def->refs++;
        if (registry_add(s->registry, def, e) != 0) {
            def->refs--;
            error_prefix(e, "%s", vm->name);
            return e->code;
        }
    }
    return 0;
}

int commands_publish(struct scripts *s, struct error *e)
{
    registry_remove_kind(s->registry, COMMAND_NODE);
    int code = publish_vm(s, s->shipped, e);
    for (size_t i = 0; i < s->files_count && code == 0; i++) {
        if (s->files[i].vm != NULL) {
            code = publish_vm(s, s->files[i].vm, e);
        }
    }
    return code;
}

/* ---- Running one ---------------------------------------------------------------------- */

static void push_value(lua_State *L, const struct call_value *v)
{
    switch (v->def->type) {
    case ARG_INT:
    case ARG_MONEY:
    case ARG_DURATION:
    case ARG_TIME: lua_pushinteger(L, (lua_Integer)v->number); break;
    case ARG_BOOL: lua_pushboolean(L, v->number != 0); break;
    default: lua_pushlstring(L, v->text.data, v->text.len); break;
    }
}

/* [-0, +1] The arguments by name (hyphens become underscores). */
static void push_request(lua_State *L, const struct call *call)
{
    lua_newtable(L);
    for (size_t i = 0; i < call->values_count; i++) {
        const struct call_value *v = &call->values[i];
        luaL_gsub(L, v->def->name, "-", "_");
        if (!v->def->many) {
            push_value(L, v);
            lua_settable(L, -3);
            continue;
        }
        lua_pushvalue(L, -1);
        if (lua_gettable(L, -3) == LUA_TNIL) {
            lua_pop(L, 1);
            lua_newtable(L);
            lua_pushvalue(L, -2);
            lua_pushvalue(L, -2);
            lua_settable(L, -5);
        }
        push_value(L, v);
        lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
        lua_pop(L, 2);
    }
}

void push_context(lua_State *L, const struct policy_user *user)
{
    lua_newtable(L);
    lua_newtable(L);
    lua_pushlstring(L, user->name.data != NULL ? user->name.data : "", user->name.len);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, access_name(user->access));
    lua_setfield(L, -2, "access");
    lua_newtable(L);
    for (lua_Integer i = 0; user->roles != NULL && user->roles[i] != NULL; i++) {
        lua_pushstring(L, user->roles[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_json_mark_list(L);
    lua_setfield(L, -2, "roles");
    lua_setfield(L, -2, "user");
}

/* Protected: the coroutine of a node command. */
static int build_command(lua_State *L)
{
    struct task *t = lua_touserdata(L, 1);
    t->co = lua_newthread(L);
    t->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    push_runtime(L, "node_command");
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->vm->commands);
    lua_getfield(L, -1, t->node_call->def->name);
    lua_remove(L, -2);
    lua_getfield(L, -1, "run");
    lua_remove(L, -2);
    push_context(L, &t->user);
    if (t->node_call->request.len > 0) { /* for the commands that it calls in its turn */
        lua_pushlstring(L, t->node_call->request.data, t->node_call->request.len);
        lua_setfield(L, -2, "request");
    }
    push_request(L, t->node_call);
    lua_xmove(L, t->co, 4);
    t->args = 3;
    return 0;
}

void scripts_node_command(void *arg, struct request *r, const struct call *call)
{
    struct scripts *s = arg;
    struct error e;
    struct vm *vm = command_vm(s, call->def);
    struct task *t = vm != NULL ? task_new(vm, NULL, call->def->name, &r->user) : NULL;
    if (t == NULL) {
        (void)error_set(&e, vm != NULL ? ERR_BUSY : ERR_NOTFOUND,
                        vm != NULL ? "too many scripts are at work on this node"
                                   : "this command has just been taken away by `scripts reload`");
        s->sink.answer(s->sink.arg, r, e.code, &e, span_make("", 0));
        return;
    }
    t->node_request = r;
    t->node_call = call;
    if (vm_protected(vm, build_command, t, &e) == 0) {
        task_start(t);
    } else {
        task_fail(t, 1, &e);
    }
}

void scripts_node_cancel(void *arg, struct request *r)
{
    struct scripts *s = arg;
    for (struct task *t = s->tasks; t != NULL; t = t->next) {
        if (t->node_request == r) {
            task_kill(t, "its client went away");
        }
    }
}
