/* The `table` library of the sandbox: raw access, every loop charged.
 *
 * The stock functions run loops in C whose length a script chooses (table.move(t, 1,
 * math.maxinteger, ...), a __len that lies), where no count hook is called. These look
 * at the table itself, never at metamethods, and pay for their work beforehand.
 * table.sort is a stable merge sort: equal elements keep their order in every process,
 * and an inconsistent comparison function cannot break it. */
#include <string.h>

#include "base/limits.h"
#include "policy/sandbox.h"

/* The length of a table argument; its border as stored, whatever __len says. */
static lua_Integer length(lua_State *L, int index)
{
    luaL_checktype(L, index, LUA_TTABLE);
    return (lua_Integer)lua_rawlen(L, index);
}

/* A table that the function may write to. */
static lua_Integer writable(lua_State *L, int index)
{
    lua_Integer n = length(L, index);
    if (sandbox_is_locked(L, index)) {
        luaL_error(L, "this table is read-only");
    }
    return n;
}

static int t_insert(lua_State *L)
{
    lua_Integer n = writable(L, 1), at = n + 1;
    int top = lua_gettop(L);
    luaL_argcheck(L, top == 2 || top == 3, 2, "wrong number of arguments to 'insert'");
    if (top == 3) {
        at = luaL_checkinteger(L, 2);
        luaL_argcheck(L, at >= 1 && at <= n + 1, 2, "position out of bounds");
        sandbox_charge(L, (uint64_t)(n - at + 1) / 4);
        for (lua_Integer i = n; i >= at; i--) {
            lua_rawgeti(L, 1, i);
            lua_rawseti(L, 1, i + 1);
        }
    }
    lua_settop(L, top);
    lua_rawseti(L, 1, at);
    return 0;
}

static int t_remove(lua_State *L)
{
    lua_Integer n = writable(L, 1);
    lua_Integer at = luaL_optinteger(L, 2, n);
    if (lua_gettop(L) >= 2 && !lua_isnil(L, 2)) {
        luaL_argcheck(L, (n == 0 && at == 0) || (at >= 1 && at <= n + 1), 2,
                      "position out of bounds");
    }
    sandbox_charge(L, at < n ? (uint64_t)(n - at) / 4 : 0);
    lua_rawgeti(L, 1, at);
    for (lua_Integer i = at; i < n; i++) {
        lua_rawgeti(L, 1, i + 1);
        lua_rawseti(L, 1, i);
    }
    if (at >= 1 && at <= n) {
        lua_pushnil(L);
        lua_rawseti(L, 1, n);
    }
    return 1;
}

static int t_concat(lua_State *L)
{
    lua_Integer n = length(L, 1);
    size_t sep_len;
    const char *sep = luaL_optlstring(L, 2, "", &sep_len);
    lua_Integer i = luaL_optinteger(L, 3, 1), last = luaL_optinteger(L, 4, n);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (; i <= last; i++) {
        sandbox_charge(L, 1);
        lua_rawgeti(L, 1, i);
        if (!lua_isstring(L, -1)) {
            return luaL_error(L, "invalid value (%s) at index %I in table for 'concat'",
                              luaL_typename(L, -1), (LUAI_UACINT)i);
        }
        luaL_addvalue(&b);
        if (i < last) {
            luaL_addlstring(&b, sep, sep_len);
        } else {
            break; /* i + 1 could overflow */
        }
    }
    luaL_pushresult(&b);
    return 1;
}

/* The number of elements of first..last, at most `max`. */
static uint64_t range(lua_State *L, lua_Integer first, lua_Integer last, uint64_t max,
                      const char *what)
{
    uint64_t n = first > last ? 0 : (uint64_t)last - (uint64_t)first + 1;
    if (first <= last && (n == 0 || n > max)) {
        luaL_error(L, "too many elements to %s (most: %d)", what, (int)max);
    }
    return n;
}

static int t_unpack(lua_State *L)
{
    lua_Integer n = length(L, 1);
    lua_Integer first = luaL_optinteger(L, 2, 1), last = luaL_optinteger(L, 3, n);
    uint64_t count = range(L, first, last, SANDBOX_UNPACK_MAX, "unpack");
    sandbox_charge(L, count / 8);
    luaL_checkstack(L, (int)count, "too many elements to unpack");
    for (uint64_t i = 0; i < count; i++) {
        lua_rawgeti(L, 1, (lua_Integer)((uint64_t)first + i));
    }
    return (int)count;
}

static int t_pack(lua_State *L)
{
    int n = lua_gettop(L);
    lua_createtable(L, n, 1);
    lua_insert(L, 1);
    for (int i = n; i >= 1; i--) {
        lua_rawseti(L, 1, i);
    }
    lua_pushinteger(L, n);
    lua_setfield(L, 1, "n");
    return 1;
}

static int t_move(lua_State *L)
{
    lua_Integer first = luaL_checkinteger(L, 2), last = luaL_checkinteger(L, 3);
    lua_Integer to = luaL_checkinteger(L, 4);
    int target = lua_isnoneornil(L, 5) ? 1 : 5;
    (void)length(L, 1);
    (void)writable(L, target);
    uint64_t n = range(L, first, last, INT32_MAX, "move");
    luaL_argcheck(L, n == 0 || to <= INT64_MAX - (lua_Integer)n + 1, 4, "destination wraps around");
    sandbox_charge(L, n);
    bool up = to > first && to <= last && lua_rawequal(L, 1, target);
    for (uint64_t k = 0; k < n; k++) {
        lua_Integer i = (lua_Integer)(up ? n - 1 - k : k);
        lua_rawgeti(L, 1, first + i);
        lua_rawseti(L, target, to + i);
    }
    lua_pushvalue(L, target);
    return 1;
}

/* ---- sort: [1] table, [2] comparison or nil, [3] and [4] scratch ---------------- */

/* Merges the sorted halves [low, mid) and [mid, high) of the list at `from` into `to`. */
static void merge(lua_State *L, int from, int to, lua_Integer low, lua_Integer mid,
                  lua_Integer high, sandbox_less less)
{
    lua_Integer a = low, b = mid;
    for (lua_Integer k = low; k < high; k++) {
        bool left = a < mid;
        if (a < mid && b < high) {
            lua_rawgeti(L, from, b);
            lua_rawgeti(L, from, a);
            left = !less(L); /* the right one only when it is truly less */
            lua_pop(L, 2);
        }
        lua_rawgeti(L, from, left ? a++ : b++);
        lua_rawseti(L, to, k);
    }
}

void sandbox_merge_sort(lua_State *L, lua_Integer n, sandbox_less less, bool charge)
{
    int from = lua_gettop(L), to = from + 1;
    lua_createtable(L, (int)n, 0);
    for (lua_Integer width = 1; width < n; width *= 2) {
        if (charge) {
            sandbox_charge(L, (uint64_t)n);
        }
        for (lua_Integer low = 1; low <= n; low += 2 * width) {
            lua_Integer mid = low + width <= n + 1 ? low + width : n + 1;
            lua_Integer high = low + 2 * width <= n + 1 ? low + 2 * width : n + 1;
            merge(L, from, to, low, mid, high, less);
        }
        lua_pushvalue(L, from);
        lua_copy(L, to, from);
        lua_replace(L, to);
    }
    lua_settop(L, from);
}

/* By the comparison at 2, or `<`. */
static bool value_less(lua_State *L)
{
    if (lua_isnil(L, 2)) {
        if (lua_type(L, -1) == LUA_TSTRING) { /* no instruction, so no hook, between two of them */
            sandbox_charge(L, lua_rawlen(L, -1) / 64);
        }
        return lua_compare(L, -2, -1, LUA_OPLT) != 0;
    }
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -3);
    lua_pushvalue(L, -3);
    lua_call(L, 2, 1);
    bool result = lua_toboolean(L, -1) != 0;
    lua_pop(L, 1);
    return result;
}

int sandbox_sort(lua_State *L)
{
    lua_Integer n = writable(L, 1);
    if (!lua_isnoneornil(L, 2)) {
        luaL_checktype(L, 2, LUA_TFUNCTION);
    }
    luaL_argcheck(L, n < INT32_MAX, 1, "array too big");
    lua_settop(L, 2);
    lua_createtable(L, (int)n, 0); /* 3: a copy: a comparison may look at the table */
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, 1, i);
        lua_rawseti(L, 3, i);
    }
    sandbox_merge_sort(L, n, value_less, true);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, 3, i);
        lua_rawseti(L, 1, i);
    }
    return 0;
}

void sandbox_table_lib(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "insert", t_insert },   { "remove", t_remove }, { "concat", t_concat },
        { "unpack", t_unpack },   { "pack", t_pack },     { "move", t_move },
        { "sort", sandbox_sort }, { NULL, NULL },
    };
    luaL_newlib(L, functions);
}
