/* The `node` table: what the node commands (lua/commands/node) are written over. Only those
 * files get it; scripts reach the same through the commands, under their access levels. */
#include <string.h>

#include "cluster/feature.h"
#include "policy/lua_json.h"
#include "policy/policy.h"
#include "script/script_impl.h"

static struct cluster *cluster_of(lua_State *L)
{
    struct scripts *s = script_vm(L)->scripts;
    if (s->cluster == NULL) {
        luaL_error(L, "the node is starting");
    }
    return s->cluster;
}

static void set_string(lua_State *L, const char *key, const char *value)
{
    lua_pushstring(L, value != NULL ? value : "");
    lua_setfield(L, -2, key);
}

static void set_integer(lua_State *L, const char *key, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, key);
}

static void set_hex(lua_State *L, const char *key, uint64_t value)
{
    char text[17];
    (void)snprintf(text, sizeof text, "%016llx", (unsigned long long)value);
    set_string(L, key, text);
}

static void push_members(lua_State *L, const struct cluster_status *s)
{
    lua_createtable(L, (int)s->members_count, 0);
    for (size_t i = 0; i < s->members_count; i++) {
        const struct cluster_member *m = &s->members[i];
        lua_createtable(L, 0, 6);
        set_string(L, "address", m->address);
        set_hex(L, "id", m->node_id);
        set_string(L, "role", m->voter ? "voter" : "learner");
        set_integer(L, "match", m->match);
        lua_pushboolean(L, m->leader);
        lua_setfield(L, -2, "leader");
        lua_pushboolean(L, m->reachable);
        lua_setfield(L, -2, "reachable");
        lua_pushboolean(L, m->self);
        lua_setfield(L, -2, "self");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_json_mark_list(L);
}

/* node.status() -> everything this node knows of itself and its cluster */
static int node_status(lua_State *L)
{
    const struct scripts *own = script_vm(L)->scripts;
    struct cluster_status s;
    cluster_status(cluster_of(L), &s);
    lua_newtable(L);
    set_string(L, "address", s.address);
    set_string(L, "leader", s.leader);
    set_string(L, "role", cluster_role_name(s.role));
    set_string(L, "waiting", s.waiting);
    set_string(L, "version", own->version);
    set_string(L, "profile", own->profile);
    set_hex(L, "id", s.node_id);
    set_hex(L, "cluster", s.cluster_id);
    set_hex(L, "digest", s.digest);
    set_integer(L, "term", s.term);
    set_integer(L, "commit", s.commit);
    set_integer(L, "applied", s.applied);
    set_integer(L, "last", s.last);
    set_integer(L, "snapshot", s.snapshot_index);
    set_integer(L, "log_bytes", s.log_bytes);
    set_integer(L, "in_flight", s.entries_in_flight);
    set_integer(L, "feature_level", cluster_feature_level(cluster_of(L)));
    set_integer(L, "uptime_ms", own->env->ops->mono_ms(own->env) - own->started_ms);
    struct error ignored = { 0 };
    lua_pushboolean(L, s.ready || (s.role != ROLE_LEADER && s.leader[0] != 0 &&
                                   cluster_local_ready(cluster_of(L), &ignored) == 0));
    lua_setfield(L, -2, "ready"); /* requests are answered through this node */
    push_members(L, &s);
    lua_setfield(L, -2, "members");
    return 1;
}

/* node.policy() -> { version, name, hash, author, time } of the active policy; version 0 is the
 * one compiled in */
static int node_policy(lua_State *L)
{
    struct policy_record p;
    lua_newtable(L);
    const struct policy *rules = script_vm(L)->scripts->rules;
    uint32_t active = script_vm(L)->scripts->policy; /* by which this node judges */
    set_string(L, "name", rules != NULL ? policy_name(rules) : "");
    if (active == 0 || !store_policy(cluster_store(cluster_of(L)), active, &p)) {
        set_integer(L, "version", 0);
        set_string(L, "hash", "");
        return 1;
    }
    set_integer(L, "version", p.version);
    set_integer(L, "time", p.time_ms);
    lua_pushlstring(L, p.sha256.data, p.sha256.len);
    lua_setfield(L, -2, "hash");
    lua_pushlstring(L, p.author.data, p.author.len);
    lua_setfield(L, -2, "author");
    return 1;
}

/* node.counts() -> how much the store holds */
static int node_counts(lua_State *L)
{
    struct store_stats s;
    store_stats(cluster_store(cluster_of(L)), &s);
    lua_newtable(L);
    set_integer(L, "charts", s.charts);
    set_integer(L, "events", s.events);
    set_integer(L, "seats", s.seats);
    set_integer(L, "orders_live", s.orders_live);
    set_integer(L, "orders_ended", s.orders_ended);
    set_integer(L, "kv", s.kv);
    set_integer(L, "results", s.results);
    set_integer(L, "bytes", s.bytes);
    return 1;
}

static int node_config(lua_State *L)
{
    struct scripts *s = script_vm(L)->scripts;
    lua_json_decode(L, span_of(s->config_json));
    return 1;
}

/* node.commands() -> every definition, sorted by name */
static int node_commands(lua_State *L)
{
    struct scripts *s = script_vm(L)->scripts;
    size_t n = registry_count(s->registry);
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        script_push_definition(L, registry_at(s->registry, i));
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_json_mark_list(L);
    return 1;
}

/* node.command(name) -> the definition with this name or alias, or nil */
static int node_command(lua_State *L)
{
    size_t len;
    const char *name = luaL_checklstring(L, 1, &len);
    const struct command_def *def =
        registry_find(script_vm(L)->scripts->registry, span_make(name, len));
    if (def == NULL) {
        lua_pushnil(L);
    } else {
        script_push_definition(L, def);
    }
    return 1;
}

/* node.may(name) -> whether who asks may run the command */
static int node_may(lua_State *L)
{
    struct span name;
    name.data = luaL_checklstring(L, 1, &name.len);
    const struct command_def *def = registry_find(script_vm(L)->scripts->registry, name);
    lua_pushboolean(L, def != NULL && task_current(L)->user.access >= def->access);
    return 1;
}

/* node.tasks() -> scripts and statements at work */
static int node_tasks(lua_State *L)
{
    struct scripts *s = script_vm(L)->scripts;
    uint64_t now = s->env->ops->mono_ms(s->env);
    lua_newtable(L);
    lua_Integer n = 0;
    for (const struct task *t = s->tasks; t != NULL; t = t->next) {
        if (t == s->running || (t->handler != NULL && t->state == TASK_BLOCKED)) {
            continue; /* the one that asks; hooks with nothing to do */
        }
        lua_createtable(L, 0, 7);
        set_integer(L, "id", t->id);
        set_string(L, "name", t->name);
        set_string(L, "state", task_state_name(t->state));
        set_integer(L, "age_ms", now - t->started_ms);
        set_integer(L, "instructions", t->used);
        set_integer(L, "memory", t->vm->sandbox.memory_bytes);
        lua_pushlstring(L, t->user.name.data != NULL ? t->user.name.data : "", t->user.name.len);
        lua_setfield(L, -2, "user");
        lua_rawseti(L, -2, ++n);
    }
    lua_json_mark_list(L);
    return 1;
}

/* node.kill(id) -> whether there was such a task */
static int node_kill(lua_State *L)
{
    struct scripts *s = script_vm(L)->scripts;
    uint64_t id = (uint64_t)luaL_checkinteger(L, 1);
    for (struct task *t = s->tasks; t != NULL; t = t->next) {
        if (t->id == id && t != s->running) {
            task_kill(t, "killed by an operator");
            lua_pushboolean(L, 1);
            return 1;
        }
    }
    lua_pushboolean(L, 0);
    return 1;
}

/* ---- What the cluster finishes later --------------------------------------------- */

static void on_cluster(void *arg, int status)
{
    struct await *a = arg;
    a->code = status;
    await_ready(a);
}

/* -> true | nil, message, code */
static int cluster_done(lua_State *L, int status, lua_KContext context)
{
    (void)status, (void)context;
    return await_true(L, await_end(L));
}

static struct await *cluster_await(lua_State *L)
{
    struct await *a = await_new(task_current(L));
    if (a == NULL) {
        luaL_error(L, "out of memory");
    }
    return a;
}

/* node.transfer(address): hands leadership over, to the most advanced node when "" */
static int node_transfer(lua_State *L)
{
    struct cluster *c = cluster_of(L);
    const char *address = luaL_optstring(L, 1, "");
    struct await *a = cluster_await(L);
    cluster_transfer(c, address, on_cluster, a);
    return await_yield(L, a, cluster_done);
}

/* node.read(): waits until a linearizable read would be answered here */
static int node_read(lua_State *L)
{
    struct cluster *c = cluster_of(L);
    struct await *a = cluster_await(L);
    cluster_read(c, on_cluster, a);
    return await_yield(L, a, cluster_done);
}

int script_push_node(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "status", node_status },     { "policy", node_policy },
        { "rehearse", node_rehearse }, { "counts", node_counts },
        { "config", node_config },     { "commands", node_commands },
        { "command", node_command },   { "may", node_may },
        { "tasks", node_tasks },       { "kill", node_kill },
        { "snapshot", node_snapshot }, { "snapshot_bytes", node_snapshot_bytes },
        { "backup", node_backup },     { "transfer", node_transfer },
        { "read", node_read },         { "scripts", node_scripts },
        { "reload", node_reload },     { "checks", node_checks },
        { "complete", node_complete }, { NULL, NULL },
    };
    luaL_newlib(L, functions);
    script_add_node_member(L);
    feed_open_lib(L);
    log_open_lib(L);
    return 1;
}
