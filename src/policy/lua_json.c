/* JSON for Lua: see lua_json.h.
 *
 * lua.md 1 describes this library as a wrapper over lua-cjson. It could not be bent: its
 * decoder has lost `[]` against `{}`, integers over 2^53 and null before anybody can look, and
 * its encoder has no order of keys. Since a strict check of text is needed anyway (json_text.c),
 * decoding is that scanner plus pushes, and lua-cjson is what the tests compare it with.
 *
 * A list is a table with the list metatable; decoding marks every list, so an empty one stays
 * one. A null inside a list leaves a hole, which encodes as null again.
 *
 * How it fails: what cannot be encoded (a function, NaN, text that is not UTF-8, a cycle, mixed
 * keys) raises and names the place, "at .orders[2].note". C memory across calls that may raise
 * is held by userdata (collected) or belongs to the caller. */
#include "policy/lua_json.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/text.h"
#include "policy/sandbox.h"

static const char list_key; /* its address names the list metatable in the Lua registry */
static const char scan_name[] = "usher.json.scan";

/* ---- Lists --------------------------------------------------------------- */

/* [-0, +1] */
static void push_list_mark(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &list_key) == LUA_TTABLE) {
        return;
    }
    lua_pop(L, 1);
    lua_createtable(L, 0, 2);
    lua_pushliteral(L, "list");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0); /* scripts can neither read nor change it */
    lua_setfield(L, -2, "__metatable");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &list_key);
}

void lua_json_mark_list(lua_State *L)
{
    push_list_mark(L);
    lua_setmetatable(L, -2);
}

static bool is_marked(lua_State *L, int index)
{
    if (!lua_getmetatable(L, index)) {
        return false;
    }
    lua_rawgetp(L, LUA_REGISTRYINDEX, &list_key);
    bool same = lua_rawequal(L, -1, -2) != 0;
    lua_pop(L, 2);
    return same;
}

/* ---- Encoding ------------------------------------------------------------ */

struct frame { /* where we are, for error texts */
    const struct frame *up;
    const char *key; /* NULL in a list */
    lua_Integer index;
    unsigned depth;
};

struct encoder {
    lua_State *L;
    struct buf *out;
    lua_json_other_cb other;
    bool guarded; /* in a sandbox, which is to be paid */
    size_t values, bytes_paid, values_paid;
};

/* A table may hold another one twice, and that one another: a few lines of Lua describe more JSON
 * than any machine has memory. So values and bytes cost instructions, and the text has an end. */
static void pay(struct encoder *c)
{
    size_t bytes = c->out->len - c->bytes_paid;
    if (++c->values < 64 && bytes < 4096) {
        return;
    }
    size_t cost = c->values + bytes / 16;
    c->values_paid += c->values;
    c->values = 0;
    c->bytes_paid = c->out->len;
    if (c->out->failed) {
        (void)luaL_error(c->L, "JSON: out of memory");
    }
    if (c->out->len > JSON_BYTES_MAX) {
        (void)luaL_error(c->L, "JSON: more than %d MiB of text", JSON_BYTES_MAX >> 20);
    }
    if (c->values_paid > JSON_VALUES_MAX) {
        (void)luaL_error(c->L, "JSON: more than %d values", JSON_VALUES_MAX);
    }
    if (c->guarded) {
        sandbox_charge(c->L, cost);
    }
}

static void encode(struct encoder *c, int index, const struct frame *at);

static size_t put_path(char *out, size_t cap, const struct frame *at)
{
    if (at == NULL || at->depth == 0) {
        return 0;
    }
    size_t n = put_path(out, cap, at->up);
    int more = at->key != NULL ? snprintf(out + n, cap - n, ".%.40s", at->key)
                               : snprintf(out + n, cap - n, "[%lld]", (long long)at->index);
    n += more > 0 ? (size_t)more : 0;
    return n < cap ? n : cap - 1;
}

_Noreturn static void refuse(struct encoder *c, const struct frame *at, const char *what)
{
    char path[200] = "";
    (void)put_path(path, sizeof path, at);
    (void)luaL_error(c->L, "JSON: %s cannot be encoded%s%s", what, path[0] != 0 ? " at " : "",
                     path);
    abort(); /* not reached: luaL_error does not return */
}

/* The shortest text that reads back as the same number; 6.0 stays a float. */
static void put_float(struct encoder *c, double v, const struct frame *at)
{
    char text[40];
    if (!isfinite(v)) {
        refuse(c, at, isnan(v) ? "NaN" : "an infinite number");
    }
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v) {
            break;
        }
    }
    bool integral = true;
    for (char *p = text; *p != 0; p++) {
        if (*p == ',') {
            *p = '.'; /* a locale's decimal mark */
        }
        integral = integral && (*p == '-' || (*p >= '0' && *p <= '9'));
    }
    buf_put_str(c->out, text);
    buf_put_str(c->out, integral ? ".0" : "");
}

struct keys {
    size_t strings, others;
    lua_Integer max; /* of the integer keys */
    size_t integers;
};

static struct keys count_keys(lua_State *L, int index)
{
    struct keys k = { 0 };
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) == LUA_TSTRING) {
            k.strings++;
        } else if (lua_isinteger(L, -1) && lua_tointeger(L, -1) > 0) {
            k.integers++;
            k.max = lua_tointeger(L, -1) > k.max ? lua_tointeger(L, -1) : k.max;
        } else {
            k.others++;
        }
    }
    return k;
}

static void encode_list(struct encoder *c, int index, lua_Integer max, const struct frame *at)
{
    struct frame here = { .up = at, .depth = at->depth + 1 };
    buf_put_u8(c->out, '[');
    for (here.index = 1; here.index <= max; here.index++) {
        buf_put_str(c->out, here.index > 1 ? "," : "");
        lua_rawgeti(c->L, index, here.index);
        encode(c, lua_gettop(c->L), &here);
        lua_pop(c->L, 1);
    }
    buf_put_u8(c->out, ']');
}

static int compare_keys(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    int order = memcmp(x->data, y->data, x->len < y->len ? x->len : y->len);
    return order != 0 ? order : x->len < y->len ? -1 : x->len > y->len;
}

static void encode_object(struct encoder *c, int index, size_t count, const struct frame *at)
{
    enum { FEW = 16 };
    lua_State *L = c->L;
    struct span few[FEW], *keys = few;
    size_t n = 0;
    if (count > FEW) {
        keys = lua_newuserdatauv(L, count * sizeof *keys, 0);
    } else {
        lua_pushnil(L);
    }
    lua_pushnil(L);
    while (lua_next(L, index) && n < count) {
        lua_pop(L, 1);
        keys[n].data = lua_tolstring(L, -1, &keys[n].len); /* lives in the table */
        n++;
    }
    qsort(keys, n, sizeof *keys, compare_keys);
    struct frame here = { .up = at, .depth = at->depth + 1 };
    buf_put_u8(c->out, '{');
    for (size_t i = 0; i < n; i++) {
        here.key = keys[i].data;
        if (!text_is_utf8(keys[i])) {
            refuse(c, at, "a key that is not UTF-8");
        }
        buf_put_str(c->out, i > 0 ? "," : "");
        json_put_string(c->out, keys[i]);
        buf_put_u8(c->out, ':');
        lua_pushlstring(L, keys[i].data, keys[i].len);
        lua_rawget(L, index);
        encode(c, lua_gettop(L), &here);
        lua_pop(L, 1);
    }
    buf_put_u8(c->out, '}');
    lua_pop(L, 1);
}

static void encode_table(struct encoder *c, int index, const struct frame *at)
{
    if (at->depth >= JSON_DEPTH_MAX) {
        refuse(c, NULL, "a table nested too deeply (or into itself)");
    }
    luaL_checkstack(c->L, 10, "JSON");
    struct keys k = count_keys(c->L, index);
    bool list = k.integers > 0 || is_marked(c->L, index);
    if (k.others > 0 || (list && k.strings > 0)) {
        refuse(c, at, "a table that is neither a list nor an object");
    }
    if (!list) {
        encode_object(c, index, k.strings, at);
        return;
    }
    if ((size_t)k.max > 2 * k.integers + 64) {
        refuse(c, at, "a list with so many holes");
    }
    encode_list(c, index, k.max, at);
}

static void encode(struct encoder *c, int index, const struct frame *at)
{
    lua_State *L = c->L;
    struct span text;
    pay(c);
    switch (lua_type(L, index)) {
    case LUA_TNIL: buf_put_str(c->out, "null"); break;
    case LUA_TBOOLEAN: buf_put_str(c->out, lua_toboolean(L, index) ? "true" : "false"); break;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index)) {
            json_put_int(c->out, lua_tointeger(L, index));
        } else {
            put_float(c, lua_tonumber(L, index), at);
        }
        break;
    case LUA_TSTRING:
        text.data = lua_tolstring(L, index, &text.len);
        if (!text_is_utf8(text)) {
            refuse(c, at, "text that is not UTF-8");
        }
        json_put_string(c->out, text);
        break;
    case LUA_TTABLE: encode_table(c, index, at); break;
    default:
        if (lua_type(L, index) != LUA_TUSERDATA || c->other == NULL ||
            !c->other(L, index, c->out)) {
            char what[60];
            (void)snprintf(what, sizeof what, "a %s", luaL_typename(L, index));
            refuse(c, at, what);
        }
        break;
    }
}

void lua_json_encode(lua_State *L, int index, struct buf *out, lua_json_other_cb other)
{
    struct encoder c = {
        .L = L, .out = out, .other = other, .guarded = sandbox_guards(L), .bytes_paid = out->len
    };
    struct frame root = { 0 };
    luaL_checkstack(L, 10, "JSON");
    encode(&c, lua_absindex(L, index), &root);
    if (out->failed) {
        (void)luaL_error(L, "JSON: out of memory");
    }
}

/* ---- Decoding ------------------------------------------------------------ */

static int scan_gc(lua_State *L)
{
    json_scan_free(lua_touserdata(L, 1));
    return 0;
}

/* [-0, +1] */
static struct json_scan *push_scan(lua_State *L, struct span text)
{
    struct json_scan *s = lua_newuserdatauv(L, sizeof *s, 0);
    json_scan_init(s, text);
    if (luaL_newmetatable(L, scan_name)) {
        lua_pushcfunction(L, scan_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return s;
}

/* [-0, +1] A value that is no table. */
static void push_scalar(lua_State *L, const struct json_scan *s, enum json_token token)
{
    switch (token) {
    case JSON_STRING: lua_pushlstring(L, s->text.data, s->text.len); break;
    case JSON_INT: lua_pushinteger(L, s->integer); break;
    case JSON_FLOAT: lua_pushnumber(L, s->number); break;
    case JSON_TRUE:
    case JSON_FALSE: lua_pushboolean(L, token == JSON_TRUE); break;
    default: lua_pushnil(L); break;
    }
}

/* [-1, +0] The finished value goes into the table below it (of which `next` counts the
 * elements; 0: an object, whose key lies between). At the top level it stays. */
static void store_value(lua_State *L, unsigned depth, lua_Integer *next)
{
    if (depth == 0) {
        return;
    }
    if (*next > 0) {
        lua_rawseti(L, -2, (*next)++);
    } else {
        lua_rawset(L, -3);
    }
}

/* What was read since *paid costs instructions. */
static void pay_read(lua_State *L, const struct json_scan *s, const char **paid)
{
    size_t bytes = (size_t)(s->p - *paid);
    if (bytes >= 4096) {
        *paid = s->p;
        if (sandbox_guards(L)) {
            sandbox_charge(L, bytes / 4);
        }
    }
}

/* [-0, +1], or +0 and false when the scanner failed (rubbish may lie on the stack). */
static bool decode(lua_State *L, struct json_scan *s)
{
    lua_Integer next[JSON_DEPTH_MAX + 1] = { 0 };
    const char *paid = s->p;
    for (;;) {
        pay_read(L, s, &paid);
        unsigned depth = s->depth;
        enum json_token token = json_next(s);
        switch (token) {
        case JSON_FAILED: return false;
        case JSON_DONE: return true;
        case JSON_KEY: lua_pushlstring(L, s->text.data, s->text.len); break;
        case JSON_LIST:
        case JSON_OBJECT:
            lua_newtable(L);
            next[s->depth] = token == JSON_LIST;
            if (token == JSON_LIST) {
                lua_json_mark_list(L);
            }
            break;
        case JSON_LIST_END:
        case JSON_OBJECT_END: store_value(L, s->depth, &next[s->depth]); break;
        default:
            push_scalar(L, s, token);
            store_value(L, depth, &next[depth]);
            break;
        }
    }
}

/* [-0, +1] and true; else false with the message pushed. */
static bool decode_text(lua_State *L, struct span text)
{
    luaL_checkstack(L, 3 * JSON_DEPTH_MAX + 10, "JSON");
    int top = lua_gettop(L);
    struct json_scan *s = push_scan(L, text);
    bool ok = decode(L, s);
    if (!ok) {
        lua_settop(L, top + 1);
        lua_pushstring(L, s->error.message);
    }
    json_scan_free(s);
    lua_remove(L, top + 1);
    return ok;
}

void lua_json_decode(lua_State *L, struct span text)
{
    if (!decode_text(L, text)) {
        (void)lua_error(L);
    }
}

/* ---- The library --------------------------------------------------------- */

static int l_decode(lua_State *L)
{
    struct span text;
    text.data = luaL_checklstring(L, 1, &text.len);
    if (decode_text(L, text)) {
        return 1;
    }
    lua_pushnil(L);
    lua_insert(L, -2);
    lua_pushliteral(L, "BADARG");
    return 3;
}

static int buf_gc(lua_State *L)
{
    buf_free(lua_touserdata(L, 1));
    return 0;
}

static int l_encode(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    struct buf *out = lua_newuserdatauv(L, sizeof *out, 0);
    buf_init(out);
    if (luaL_newmetatable(L, "usher.json.buf")) {
        lua_pushcfunction(L, buf_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    void *const *other = lua_touserdata(L, lua_upvalueindex(1));
    lua_json_other_cb cb = NULL;
    memcpy(&cb, other, sizeof cb);
    lua_json_encode(L, 1, out, cb);
    lua_pushlstring(L, (const char *)out->data, out->len);
    buf_free(out);
    return 1;
}

static int l_list(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    if (is_marked(L, 1)) {
        return 1;
    }
    if (lua_getmetatable(L, 1)) {
        return luaL_error(L, "json.list: the table has a metatable of its own");
    }
    lua_json_mark_list(L);
    return 1;
}

static int l_is_list(lua_State *L)
{
    lua_pushboolean(L, lua_istable(L, 1) && (is_marked(L, 1) || lua_rawlen(L, 1) > 0));
    return 1;
}

int lua_json_open(lua_State *L, lua_json_other_cb other)
{
    static const luaL_Reg functions[] = {
        { "decode", l_decode }, { "list", l_list }, { "is_list", l_is_list }, { NULL, NULL }
    };
    luaL_newlib(L, functions);
    /* C has no portable way to put a function pointer into a light userdata. */
    memcpy(lua_newuserdatauv(L, sizeof other, 0), &other, sizeof other);
    lua_pushcclosure(L, l_encode, 1);
    lua_setfield(L, -2, "encode");
    return 1;
}
