/* The part of the `node` table for cluster life: changes of the membership, and what every
 * node has told about itself. */
#include <string.h>

#include "policy/lua_json.h"
#include "script/script_impl.h"

static struct cluster *cluster_of(lua_State *L)
{
    struct scripts *s = script_vm(L)->scripts;
    if (s->cluster == NULL) {
        luaL_error(L, "the node is starting");
    }
    return s->cluster;
}

static void set_integer(lua_State *L, const char *key, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, key);
}

static void set_string(lua_State *L, const char *key, const char *value)
{
    lua_pushstring(L, value);
    lua_setfield(L, -2, key);
}

static void set_bool(lua_State *L, const char *key, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, key);
}

static void set_hex(lua_State *L, const char *key, uint64_t value)
{
    char text[17];
    (void)snprintf(text, sizeof text, "%016llx", (unsigned long long)value);
    set_string(L, key, text);
}

/* node.change_id() -> a new id for node.change */
static int node_change_id(lua_State *L)
{
    struct scripts *s = script_vm(L)->scripts;
    uint64_t id = 0;
    while (id == 0) {
        s->env->ops->random(s->env, &id, sizeof id);
    }
    lua_pushinteger(L, (lua_Integer)id);
    return 1;
}

/* node.change(id, kind, address, other, timeout_ms, force) -> {stage, done, code, text, hint,
 * match, last, sent, total}. Asks for the change or how far it is: to be called some ten
 * times a second until done. */
static int node_change(lua_State *L)
{
    static const char *const kinds[] = { "add", "remove", "replace", "transfer", "probe", NULL };
    static const int values[] = { CHANGE_ADD, CHANGE_REMOVE, CHANGE_REPLACE, CHANGE_TRANSFER,
                                  CHANGE_PROBE };
    struct cluster_change change = { .id = (uint64_t)luaL_checkinteger(L, 1),
                                     .kind = values[luaL_checkoption(L, 2, NULL, kinds)],
                                     .address = luaL_checkstring(L, 3),
                                     .other = luaL_optstring(L, 4, ""),
                                     .timeout_ms = (uint64_t)luaL_checkinteger(L, 5),
                                     .force = lua_toboolean(L, 6) };
    luaL_argcheck(L, strlen(change.address) <= ADDRESS_BYTES_MAX, 3, "too long");
    luaL_argcheck(L, strlen(change.other) <= ADDRESS_BYTES_MAX, 4, "too long");
    struct cluster_change_state st;
    cluster_change_poll(cluster_of(L), &change, &st);
    lua_createtable(L, 0, 9);
    set_string(L, "stage", change_stage_name(st.stage));
    set_bool(L, "done", st.stage == STAGE_DONE);
    if (st.code != 0) {
        set_string(L, "code", error_wire(st.code));
    }
    set_string(L, "text", st.text);
    set_string(L, "hint", st.hint);
    set_integer(L, "match", st.match);
    set_integer(L, "last", st.last);
    set_integer(L, "sent", st.sent);
    set_integer(L, "total", st.total);
    return 1;
}

/* The FILE:LINE that a node tells, which may be no text at all: only what can stand in one. */
static void set_place(lua_State *L, const struct cluster_vitals *v)
{
    char text[POLICY_PLACE_WORDS * 8 + 1] = "";
    for (size_t i = 0; i < sizeof text - 1; i++) {
        char c = (char)(v->policy_place[i / 8] >> (i % 8 * 8) & 0xff);
        if (c <= ' ' || c > '~') {
            break;
        }
        text[i] = c;
    }
    set_string(L, "policy_place", text);
}

static void push_vitals(lua_State *L, const struct cluster_member *m)
{
    const struct cluster_vitals *v = &m->vitals;
    lua_createtable(L, 0, 27);
    set_integer(L, "age_ms", m->vitals_ms);
    set_string(L, "role", cluster_role_name((int)v->role));
    set_integer(L, "term", v->term);
    set_integer(L, "commit", v->commit);
    set_integer(L, "applied", v->applied);
    set_integer(L, "last", v->last);
    set_hex(L, "digest", v->digest);
    set_integer(L, "digest_index", v->digest_index);
    set_integer(L, "snapshot", v->snapshot_index);
    set_integer(L, "log_bytes", v->log_bytes);
    set_integer(L, "write_us", v->write_us);
    set_integer(L, "free_bytes", v->free_bytes);
    set_bool(L, "disk_full", (v->disk & DISK_FULL) != 0);
    set_bool(L, "disk_hangs", (v->disk & DISK_HANGS) != 0);
    set_integer(L, "uptime_ms", v->uptime_ms);
    set_integer(L, "version", v->version);
    set_integer(L, "policy", v->policy_version);
    set_hex(L, "policy_hash", v->policy_hash);
    set_bool(L, "policy_told", (v->policy_state & POLICY_KNOWN) != 0);
    set_bool(L, "policy_refused", (v->policy_state & POLICY_REFUSED) != 0);
    set_bool(L, "policy_unruled", (v->policy_state & POLICY_UNRULED) != 0);
    set_bool(L, "policy_failed", (v->policy_state & POLICY_FAILED) != 0);
    set_place(L, v);
    set_hex(L, "profile_hash", v->profile_hash);
    set_hex(L, "build_hash", v->build_hash);
    set_integer(L, "files", v->files);
    set_integer(L, "files_max", v->files_max);
}

/* node.members() -> the members with all that is known of them here. A node that was removed
 * knows the others only from the configuration that it was in last. */
static int node_members(lua_State *L)
{
    struct cluster_status s;
    lua_Integer n = 0;
    cluster_status(cluster_of(L), &s);
    lua_createtable(L, (int)s.members_count, 0);
    for (size_t i = 0; i < s.members_count; i++) {
        const struct cluster_member *m = &s.members[i];
        if (m->self && s.role == ROLE_REMOVED) {
            continue;
        }
        lua_createtable(L, 0, 15);
        set_string(L, "address", m->address);
        set_hex(L, "id", m->node_id);
        set_bool(L, "voter", m->voter);
        set_bool(L, "leader", m->leader);
        set_bool(L, "self", m->self);
        set_bool(L, "reachable", m->reachable);
        set_bool(L, "deaf", m->deaf);
        set_string(L, "why", m->why);
        set_integer(L, "match", m->match);
        set_integer(L, "rtt_us", m->rtt_us);
        if (m->heard_ms != UINT64_MAX) {
            set_integer(L, "heard_ms", m->heard_ms);
        }
        if (m->clock_known) {
            lua_pushinteger(L, (lua_Integer)m->clock_ms);
            lua_setfield(L, -2, "clock_ms");
        }
        set_integer(L, "digest_agrees", (uint64_t)(int64_t)m->digest_agrees);
        if (m->vitals_ms != UINT64_MAX) {
            push_vitals(L, m);
            lua_setfield(L, -2, "vitals");
        }
        lua_rawseti(L, -2, ++n);
    }
    lua_json_mark_list(L);
    return 1;
}

/* node.drain([on]) -> whether it drains now */
static int node_drain(lua_State *L)
{
    struct cluster *c = cluster_of(L);
    if (!lua_isnoneornil(L, 1)) {
        cluster_drain(c, lua_toboolean(L, 1));
    }
    lua_pushboolean(L, cluster_draining(c));
    return 1;
}

void script_add_node_member(lua_State *L)
{
    static const luaL_Reg functions[] = { { "change_id", node_change_id },
                                          { "change", node_change },
                                          { "members", node_members },
                                          { "drain", node_drain },
                                          { NULL, NULL } };
    luaL_setfuncs(L, functions, 0);
}
