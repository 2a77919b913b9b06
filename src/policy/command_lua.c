/* A definition is read once per load, member by member, into memory of its own: it outlives
 * the Lua table, which a later bundle may replace while a call is still queued.
 *
 * The reading runs in a pcall: a table from a script may have metamethods, and memory may
 * run out. What was read until then hangs on the definition and is freed with it. */
#include "policy/command_lua.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"

#define ARGS_MAX 64 /* arguments and options of one command */

struct reading {
    struct command_def *def;
    int kind;
};

/* ---- Members ------------------------------------------------------------------------- */

static char *copy_text(lua_State *L, int index)
{
    size_t len;
    const char *s = lua_tolstring(L, index, &len);
    char *copy = mem_strndup(s, len);
    if (copy == NULL) {
        luaL_error(L, "no memory for a command");
    }
    return copy;
}

/* The text member `name` of the table at `t`; NULL when absent. A number or boolean (a
 * default) becomes text. */
static char *text_member(lua_State *L, int t, const char *name)
{
    char *copy = NULL;
    switch (lua_getfield(L, t, name)) {
    case LUA_TNIL: break;
    case LUA_TSTRING:
    case LUA_TNUMBER: copy = copy_text(L, -1); break;
    case LUA_TBOOLEAN: {
        const char *s = lua_toboolean(L, -1) ? "true" : "false";
        copy = mem_strndup(s, strlen(s));
        break;
    }
    default: luaL_error(L, "'%s' must be a text, not a %s", name, luaL_typename(L, -1));
    }
    lua_pop(L, 1);
    return copy;
}

static bool flag_member(lua_State *L, int t, const char *name)
{
    lua_getfield(L, t, name);
    bool on = lua_toboolean(L, -1) != 0;
    lua_pop(L, 1);
    return on;
}

/* Refuses keys of the table at `t` that are none of `names`: mostly misspelt ones. Of numbers those
 * from 1 to `places` are allowed. `what` begins the error. */
static void check_keys(lua_State *L, int t, const char *const *names, lua_Integer places,
                       const char *what)
{
    lua_pushnil(L);
    for (; lua_next(L, t); lua_pop(L, 1)) {
        if (lua_isinteger(L, -2) && lua_tointeger(L, -2) >= 1 && lua_tointeger(L, -2) <= places) {
            continue;
        }
        if (lua_type(L, -2) != LUA_TSTRING) {
            luaL_error(L, "%sonly names are keys here", what);
        }
        const char *key = lua_tostring(L, -2), *near = NULL;
        bool known = false;
        for (size_t i = 0; names[i] != NULL && !known; i++) {
            known = strcmp(names[i], key) == 0;
        }
        if (!known && (near = text_nearest(span_of(key), names)) != NULL) {
            luaL_error(L, "%sunknown key '%s', did you mean '%s'?", what, key, near);
        } else if (!known) {
            luaL_error(L, "%sunknown key '%s'", what, key);
        }
    }
}

/* A list of texts as a NULL-ended array, which is stored in *to before it is filled. */
static void text_list(lua_State *L, int list, char ***to, const char *what)
{
    if (lua_type(L, list) != LUA_TTABLE) {
        luaL_error(L, "'%s' must be a list of texts", what);
    }
    size_t n = (size_t)lua_rawlen(L, list);
    *to = mem_zalloc((n + 1) * sizeof(**to));
    if (*to == NULL) {
        luaL_error(L, "no memory for a command");
        return; /* never reached */
    }
    for (size_t i = 0; i < n; i++) {
        if (lua_rawgeti(L, list, (lua_Integer)i + 1) != LUA_TSTRING) {
            luaL_error(L, "'%s' must be a list of texts", what);
        }
        (*to)[i] = copy_text(L, -1);
        lua_pop(L, 1);
    }
}

/* A word out of a set, by a parser that returns -1 for others; `otherwise` when absent. */
static int word_member(lua_State *L, int t, const char *name, int (*parse)(struct span),
                       int otherwise)
{
    int value = otherwise;
    if (lua_getfield(L, t, name) != LUA_TNIL) {
        size_t len;
        const char *s = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
        value = s != NULL ? parse(span_make(s, len)) : -1;
        if (value < 0) {
            luaL_error(L, "'%s' is not known as a value of '%s'", s != NULL ? s : "?", name);
        }
    }
    lua_pop(L, 1);
    return value;
}

static int read_parse(struct span s)
{
    return span_is(s, "local") ? READ_LOCAL : span_is(s, "linearizable") ? READ_LINEARIZABLE : -1;
}

static int kind_parse(struct span s)
{
    return span_is(s, "transaction") ? COMMAND_TRANSACTION : span_is(s, "node") ? COMMAND_NODE : -1;
}

/* ---- Arguments -------------------------------------------------------------------------- */

static struct arg_def *new_arg(lua_State *L, struct command_def *def)
{
    if (def->args_count == ARGS_MAX) {
        luaL_error(L, "more than %d arguments", ARGS_MAX);
    }
    return &def->args[def->args_count++]; /* zeroed, and freed with the definition */
}

/* The type at list place `at` of the table: a name, or one_of{...} as a table. */
static void read_type(lua_State *L, int t, lua_Integer at, struct arg_def *arg)
{
    int type = lua_rawgeti(L, t, at);
    if (type == LUA_TTABLE) { /* { "kind", { "a", "b" } } */
        arg->type = ARG_ONE_OF;
        text_list(L, lua_gettop(L), &arg->choices, "choices");
    } else if (type == LUA_TSTRING) {
        size_t len;
        const char *s = lua_tolstring(L, -1, &len);
        arg->type = arg_type_parse(span_make(s, len));
        if (arg->type < 0) {
            luaL_error(L, "argument '%s': there is no type '%s'", arg->name, s);
        }
    } else {
        luaL_error(L, "argument '%s' needs a type", arg->name);
    }
    lua_pop(L, 1);
    if (lua_getfield(L, t, "choices") != LUA_TNIL && arg->choices == NULL) {
        text_list(L, lua_gettop(L), &arg->choices, "choices");
    }
    lua_pop(L, 1);
}

/* complete = function(ctx, prefix) ... end: what it gives is asked for by its place. */
static bool read_complete(lua_State *L, int t, const char *what)
{
    int type = lua_getfield(L, t, "complete");
    lua_pop(L, 1);
    if (type != LUA_TNIL && type != LUA_TFUNCTION) {
        luaL_error(L, "%s'complete' must be a function", what);
    }
    return type == LUA_TFUNCTION;
}

/* The rest of an argument, whose name is set: {..., type, many=, default=, help=, ...}. */
static void read_arg(lua_State *L, int t, lua_Integer type_at, struct arg_def *arg)
{
    static const char *const keys[] = { "help",     "default", "meta",     "many", "pairs",
                                        "optional", "choices", "complete", NULL };
    char what[ID_BYTES_MAX + 16];
    (void)snprintf(what, sizeof what, "%s '%s': ", arg->option ? "option" : "argument", arg->name);
    check_keys(L, t, keys, type_at, what);
    read_type(L, t, type_at, arg);
    arg->completes = read_complete(L, t, what);
    arg->help = text_member(L, t, "help");
    arg->dflt = text_member(L, t, "default");
    arg->meta = text_member(L, t, "meta");
    arg->many = flag_member(L, t, "many");
    arg->pairs = flag_member(L, t, "pairs");
    arg->optional = flag_member(L, t, "optional") || arg->dflt != NULL || arg->option;
}

/* args = { {"event", "event"}, ... } */
static void read_args(lua_State *L, int list, struct command_def *def, bool options)
{
    static const char *const none[] = { NULL };
    check_keys(L, list, none, LUA_MAXINTEGER, options ? "options: " : "args: ");
    lua_Integer n = (lua_Integer)lua_rawlen(L, list);
    for (lua_Integer i = 1; i <= n; i++) {
        struct arg_def *arg = new_arg(L, def);
        arg->option = options;
        if (lua_rawgeti(L, list, i) != LUA_TTABLE || lua_rawgeti(L, -1, 1) != LUA_TSTRING) {
            luaL_error(L, "argument %d must be { \"name\", \"type\" }", (int)i);
        }
        arg->name = copy_text(L, -1);
        lua_pop(L, 1);
        read_arg(L, lua_gettop(L), 2, arg);
        lua_pop(L, 1);
    }
}

static int by_name(const void *a, const void *b)
{
    const struct arg_def *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* options = { note = { "string", help = ... }, ... }; sorted, a table has no order. */
static void read_named_options(lua_State *L, int table, struct command_def *def)
{
    size_t first = def->args_count;
    lua_pushnil(L);
    while (lua_next(L, table)) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            luaL_error(L, "options have names");
        }
        struct arg_def *arg = new_arg(L, def);
        arg->option = true;
        arg->name = copy_text(L, -2);
        if (lua_type(L, -1) == LUA_TSTRING) { /* note = "string" */
            lua_createtable(L, 1, 0);
            lua_insert(L, -2);
            lua_rawseti(L, -2, 1);
        }
        if (lua_type(L, -1) != LUA_TTABLE) {
            luaL_error(L, "option '%s' must be { \"type\", help = ... }", arg->name);
        }
        read_arg(L, lua_gettop(L), 1, arg);
        lua_pop(L, 1);
    }
    qsort(def->args + first, def->args_count - first, sizeof(*def->args), by_name);
}

/* ---- The definition ------------------------------------------------------------------------- */

/* The text member of the table at 1, or this text: never NULL, for those who compare it. */
static char *text_or(lua_State *L, const char *name, const char *otherwise)
{
    char *text = text_member(L, 1, name);
    if (text == NULL) {
        lua_pushstring(L, otherwise);
        text = copy_text(L, -1);
        lua_pop(L, 1);
    }
    return text;
}

static void read_strings(lua_State *L, struct command_def *def)
{
    static const char *const keys[] = { "name",    "aliases", "group", "kind",    "access",
                                        "summary", "example", "args",  "options", "read",
                                        "run",     "again",   NULL };
    def->name = text_member(L, 1, "name");
    if (read_complete(L, 1, "")) {
        luaL_error(L, "unknown key 'complete': an argument has it, "
                      "args = { { \"name\", \"type\", complete = ... } }");
    }
    check_keys(L, 1, keys, 0, "");
    def->group = text_or(L, "group", "other");
    def->summary = text_member(L, 1, "summary");
    def->example = text_member(L, 1, "example");
    if (def->name == NULL) {
        luaL_error(L, "'name' is missing");
    }
    if (lua_getfield(L, 1, "aliases") != LUA_TNIL) {
        text_list(L, lua_gettop(L), &def->aliases, "aliases");
    }
    lua_pop(L, 1);
}

/* [table, (struct reading *)] */
static int read_protected(lua_State *L)
{
    const struct reading *r = lua_touserdata(L, 2);
    struct command_def *def = r->def;
    lua_settop(L, 1);
    luaL_checktype(L, 1, LUA_TTABLE);
    read_strings(L, def);
    def->kind = word_member(L, 1, "kind", kind_parse, r->kind);
    if (def->kind != r->kind) {
        return luaL_error(L, "this place takes commands of kind '%s' only",
                          r->kind == COMMAND_NODE ? "node" : "transaction");
    }
    def->access = word_member(L, 1, "access", access_parse, ACCESS_CLIENT);
    def->read = word_member(L, 1, "read", read_parse, READ_NONE);
    def->args = mem_zalloc(ARGS_MAX * sizeof(*def->args));
    if (def->args == NULL) {
        return luaL_error(L, "no memory for a command");
    }
    if (lua_getfield(L, 1, "args") == LUA_TTABLE) {
        read_args(L, 2, def, false);
    } else if (!lua_isnil(L, -1)) {
        return luaL_error(L, "'args' must be a list");
    }
    lua_settop(L, 1);
    if (lua_getfield(L, 1, "options") == LUA_TTABLE) {
        if (lua_rawlen(L, 2) > 0) {
            read_args(L, 2, def, true);
        } else {
            read_named_options(L, 2, def);
        }
    } else if (!lua_isnil(L, -1)) {
        return luaL_error(L, "'options' must be a table");
    }
    return 0;
}

int command_def_from_lua(lua_State *L, int index, int kind, struct command_def **out,
                         struct error *e)
{
    error_clear(e);
    struct command_def *def = mem_zalloc(sizeof(*def));
    if (def == NULL) {
        return error_set(e, ERR_NOMEM, "no memory for a command");
    }
    struct reading r = { def, kind };
    index = lua_absindex(L, index);
    lua_pushcfunction(L, read_protected);
    lua_pushvalue(L, index);
    lua_pushlightuserdata(L, &r);
    int rc = 0;
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        const char *why = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "bad definition";
        rc = error_set(e, ERR_BADARG, "%s", why);
        lua_pop(L, 1);
    } else {
        rc = command_def_check(def, e);
    }
    if (rc != 0) {
        error_prefix(e, "command %s", def->name != NULL ? def->name : "without a name");
        command_def_free(def);
        return rc;
    }
    *out = def;
    return 0;
}
