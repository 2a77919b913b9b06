/* See config.h. One throwaway Lua state per load: base library parts, string, table,
 * math; text chunks only; a budget of instructions and of memory, because a config file that
 * loops must not hang the terminal or fill the machine. Every Lua call runs under one pcall. */
#include "script/config.h"

#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/embed.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "policy/command.h"

#define CONFIG_INSTRUCTIONS_MAX 50000000
#define CONFIG_BYTES_MAX        ((size_t)64 << 20) /* a megabyte is a long list of profiles */
#define CONFIG_INSTALLED        "/etc/usher/config.lua"

struct load {
    const char *file, *profile;
    struct config *out;
};

static void over_budget(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    lua_sethook(L, over_budget, LUA_MASKCOUNT, 1); /* again at once, should a pcall swallow it */
    luaL_error(L, "runs for too long");
}

/* Counts in *ud, CONFIG_BYTES_MAX at most. */
static void *config_alloc(void *ud, void *block, size_t old_bytes, size_t bytes)
{
    size_t *used = ud;
    size_t before = block != NULL ? old_bytes : 0;
    if (bytes > before && bytes - before > CONFIG_BYTES_MAX - *used) {
        return NULL;
    }
    void *out = NULL;
    if (bytes == 0) {
        mem_free(block);
    } else if ((out = mem_realloc(block, bytes)) == NULL) {
        return bytes <= before ? block : NULL; /* Lua relies on it: shrinking does not fail */
    }
    *used = *used - before + bytes;
    return out;
}

static int l_getenv(lua_State *L)
{
    const char *value = getenv(luaL_checkstring(L, 1));
    if (value == NULL || value[0] == 0) {
        lua_pushnil(L);
    } else {
        lua_pushstring(L, value);
    }
    return 1;
}

/* [-0, +1] The globals a config file sees. MAY_RAISE */
static void push_environment(lua_State *L, int module)
{
    static const char *const names[] = { "assert", "error",    "ipairs",   "next", "pairs",
                                         "select", "tonumber", "tostring", "type", "string",
                                         "table",  "math",     NULL };
    lua_newtable(L);
    for (const char *const *name = names; *name != NULL; name++) {
        lua_getglobal(L, *name);
        lua_setfield(L, -2, *name);
    }
    lua_getfield(L, module, "env");
    lua_pushcfunction(L, l_getenv);
    lua_call(L, 1, 1);
    lua_setfield(L, -2, "env");
}

static char *copy_field(lua_State *L, const char *key)
{
    size_t len;
    lua_getfield(L, -1, key);
    const char *text = lua_tolstring(L, -1, &len);
    char *copy = text != NULL ? mem_strndup(text, len) : NULL;
    lua_pop(L, 1);
    return copy;
}

/* The list at field `key` of the table on top, as a NULL-ended array (empty if absent). */
static char **copy_list(lua_State *L, const char *key, size_t *count)
{
    lua_getfield(L, -1, key);
    size_t n = lua_istable(L, -1) ? (size_t)lua_rawlen(L, -1) : 0;
    char **list = mem_must_alloc((n + 1) * sizeof *list);
    for (size_t i = 0; i < n; i++) {
        size_t len;
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        const char *text = lua_tolstring(L, -1, &len);
        list[i] = mem_strndup(text != NULL ? text : "", text != NULL ? len : 0);
        lua_pop(L, 1);
    }
    list[n] = NULL;
    lua_pop(L, 1);
    if (count != NULL) {
        *count = n;
    }
    return list;
}

static void copy_users(lua_State *L, struct config *out)
{
    lua_getfield(L, -1, "users");
    if (lua_istable(L, -1)) {
        lua_pushnil(L);
        while (lua_next(L, -2) != 0) {
            size_t bytes = (out->users_count + 1) * sizeof *out->users;
            out->users = mem_must_realloc(out->users, bytes);
            struct config_user *user = &out->users[out->users_count++];
            user->name = mem_strndup(lua_tostring(L, -2), lua_rawlen(L, -2));
            user->password = copy_field(L, "password");
            user->roles = copy_list(L, "roles", NULL);
            char *level = copy_field(L, "access");
            user->access = level != NULL ? access_parse(span_of(level)) : ACCESS_CLIENT;
            mem_free(level);
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}

static void json_list(struct buf *b, const char *key, char *const *list)
{
    json_put_key(b, key);
    buf_put_u8(b, '[');
    for (; *list != NULL; list++) {
        json_put_comma(b);
        json_put_string(b, span_of(*list));
    }
    buf_put_u8(b, ']');
}

static void json_given(struct buf *b, const char *key, uint64_t value)
{
    if (value != 0) {
        json_field_int(b, key, (int64_t)value);
    }
}

/* What has to be the same on every node: not where its file and data are, nor the list of nodes,
 * which counts at the first start only and is edited while they run. */
static void put_alike(const struct config *c, struct buf *b)
{
    if (c->policy != NULL) {
        json_field_string(b, "policy", span_of(c->policy));
    }
    if (c->lua != NULL) {
        json_field_string(b, "lua", span_of(c->lua));
    }
    json_list(b, "scripts", c->scripts);
    json_field_int(b, "election_timeout_ms",
                   c->election_timeout_ms != 0 ? c->election_timeout_ms : 500);
    json_given(b, "snapshot_bytes", c->snapshot_bytes);
    json_given(b, "script_memory_bytes", c->script_memory_bytes);
    json_given(b, "script_instructions", c->script_instructions);
    json_given(b, "script_file_bytes", c->script_file_bytes);
    json_field_bool(b, "secret", c->secret != NULL);
    json_put_key(b, "users");
    buf_put_u8(b, '{');
    for (size_t i = 0; i < c->users_count; i++) {
        json_put_comma(b);
        json_put_string(b, span_of(c->users[i].name));
        buf_put_str(b, ":{");
        json_field_string(b, "access", span_of(access_name(c->users[i].access)));
        json_list(b, "roles", c->users[i].roles);
        buf_put_u8(b, '}');
    }
    buf_put_u8(b, '}');
}

static void put_json(struct config *c)
{
    struct buf *b = &c->json, alike = BUF_INIT;
    buf_put_u8(b, '{');
    json_field_string(b, "profile", span_of(c->profile));
    json_field_string(b, "file", span_of(c->file));
    json_list(b, "nodes", c->nodes);
    if (c->data != NULL) {
        json_field_string(b, "data", span_of(c->data));
    }
    put_alike(c, b);
    buf_put_u8(b, '}');
    put_alike(c, &alike);
    c->alike_hash = hash64(alike.data, alike.len);
    buf_free(&alike);
}

/* [-0, +0] Copies the checked profile on the top of the stack. */
static void take_profile(lua_State *L, struct config *out)
{
    out->profile = copy_field(L, "profile");
    out->nodes = copy_list(L, "nodes", &out->nodes_count);
    out->scripts = copy_list(L, "scripts", NULL);
    out->data = copy_field(L, "data");
    out->policy = copy_field(L, "policy");
    out->lua = copy_field(L, "lua");
    out->secret = copy_field(L, "secret");
    lua_getfield(L, -1, "election_timeout_ms");
    out->election_timeout_ms = (unsigned)lua_tointeger(L, -1);
    lua_getfield(L, -2, "snapshot_bytes");
    out->snapshot_bytes = (uint64_t)lua_tointeger(L, -1);
    lua_getfield(L, -3, "script_memory_bytes");
    out->script_memory_bytes = (uint64_t)lua_tointeger(L, -1);
    lua_getfield(L, -4, "script_file_bytes");
    out->script_file_bytes = (uint64_t)lua_tointeger(L, -1);
    lua_getfield(L, -5, "script_instructions");
    out->script_instructions = (uint64_t)lua_tointeger(L, -1);
    lua_pop(L, 5);
    copy_users(L, out);
    put_json(out);
}

/* Runs protected. MAY_RAISE */
static int load_protected(lua_State *L)
{
    struct load *load = lua_touserdata(L, 1);
    luaL_requiref(L, "_G", luaopen_base, 1);
    luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 1);
    luaL_requiref(L, LUA_TABLIBNAME, luaopen_table, 1);
    luaL_requiref(L, LUA_MATHLIBNAME, luaopen_math, 1);
    lua_settop(L, 0);
    const struct embed_file *checker = embed_find("usher/config");
    if (checker == NULL ||
        luaL_loadbufferx(L, checker->text, checker->len, "=usher/config.lua", "t") != LUA_OK) {
        return lua_error(L);
    }
    lua_call(L, 0, 1); /* 1: the checker */
    if (luaL_loadfilex(L, load->file, "t") != LUA_OK) {
        return lua_error(L);
    }
    push_environment(L, 1);
    lua_setupvalue(L, -2, 1); /* _ENV of the chunk */
    lua_sethook(L, over_budget, LUA_MASKCOUNT, CONFIG_INSTRUCTIONS_MAX);
    lua_call(L, 0, 1); /* 2: the profiles */
    lua_getfield(L, 1, "profile");
    lua_pushvalue(L, 2);
    lua_pushstring(L, load->profile);
    lua_call(L, 2, 1);
    take_profile(L, load->out);
    return 0;
}

/* The checker raises {path=, message=}; the file itself may raise anything. */
static void take_error(lua_State *L, const char *file, struct error *e)
{
    if (lua_istable(L, -1)) {
        lua_getfield(L, -1, "path");
        lua_getfield(L, -2, "message");
        const char *path = lua_tostring(L, -2), *message = lua_tostring(L, -1);
        error_set(e, ERR_BADARG, "%s: %s%s%s", file, path != NULL ? path : "",
                  path != NULL && path[0] != 0 ? ": " : "", message != NULL ? message : "?");
    } else {
        const char *text = lua_tostring(L, -1);
        error_set(e, ERR_BADARG, "%s: %s", file,
                  text != NULL ? text : "raised an error without text");
    }
}

static const char *find_file(const char *file, struct error *e)
{
    if (file != NULL) {
        if (access(file, R_OK) == 0) {
            return file;
        }
        error_set(e, ERR_NOTFOUND, "cannot read %s: %s", file, strerror(errno));
        error_hint(e, "give the path of a config.lua with --file");
        return NULL;
    }
    if (access("config.lua", F_OK) == 0) {
        return find_file("config.lua", e);
    }
    if (access(CONFIG_INSTALLED, R_OK) == 0) {
        return CONFIG_INSTALLED;
    }
    error_set(e, ERR_NOTFOUND, "there is no config.lua here and no " CONFIG_INSTALLED);
    error_hint(e, "go to the folder of your config.lua or give it with --file");
    return NULL;
}

int config_load(const char *file, const char *profile, struct config *out, struct error *e)
{
    memset(out, 0, sizeof *out);
    const char *path = find_file(file, e);
    if (path == NULL) {
        return e != NULL ? e->code : ERR_NOTFOUND;
    }
    size_t used = 0;
    lua_State *L = lua_newstate(config_alloc, &used);
    if (L == NULL) {
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    out->file = mem_strndup(path, strlen(path));
    struct load load = { path, profile != NULL ? profile : "default", out };
    lua_pushcfunction(L, load_protected);
    lua_pushlightuserdata(L, &load);
    int code = 0;
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        take_error(L, path, e);
        code = ERR_BADARG;
        config_free(out);
    }
    lua_close(L);
    return code;
}

static void free_list(char **list)
{
    for (char **item = list; item != NULL && *item != NULL; item++) {
        mem_free(*item);
    }
    mem_free(list);
}

void config_free(struct config *c)
{
    for (size_t i = 0; i < c->users_count; i++) {
        mem_free(c->users[i].name);
        mem_free(c->users[i].password);
        free_list(c->users[i].roles);
    }
    mem_free(c->users);
    free_list(c->nodes);
    free_list(c->scripts);
    mem_free(c->file);
    mem_free(c->profile);
    mem_free(c->data);
    mem_free(c->policy);
    mem_free(c->lua);
    mem_free(c->secret);
    buf_free(&c->json);
    memset(c, 0, sizeof *c);
}

bool config_loopback_only(const struct config *c)
{
    return c->secret == NULL || c->users_count == 0;
}
