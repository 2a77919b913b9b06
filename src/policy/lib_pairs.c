/* pairs and next in an order that every process shares.
 *
 * Lua's own order over string keys depends on a hash seed made of addresses and time,
 * so a policy that loops over a table could decide differently when a run is replayed
 * from its seed. Here keys come sorted: numbers, strings bytewise, booleans, then
 * objects in the table's own order. A plain list is the common case and costs no
 * sorting: pairs then walks 1..n.
 *
 * As in Lua, fields may be changed or removed while looping; a removed one is skipped,
 * one that was added is not visited. */
#include <string.h>

#include "policy/sandbox.h"

/* Order of the classes of keys. */
static int rank(int type)
{
    return type == LUA_TNUMBER ? 0 : type == LUA_TSTRING ? 1 : type == LUA_TBOOLEAN ? 2 : 3;
}

static int compare_numbers(lua_State *L, int a, int b)
{
    return lua_compare(L, a, b, LUA_OPLT) ? -1 : lua_compare(L, b, a, LUA_OPLT) ? 1 : 0;
}

static int compare_strings(lua_State *L, int a, int b)
{
    size_t alen, blen;
    const char *as = lua_tolstring(L, a, &alen), *bs = lua_tolstring(L, b, &blen);
    int c = memcmp(as, bs, alen < blen ? alen : blen);
    return c != 0 ? c : (alen > blen) - (alen < blen);
}

/* Two keys on the stack; objects are all equal (the sort is stable). */
static int compare_keys(lua_State *L, int a, int b)
{
    int ra = rank(lua_type(L, a)), rb = rank(lua_type(L, b));
    if (ra != rb) {
        return ra - rb;
    }
    switch (ra) {
    case 0: return compare_numbers(L, a, b);
    case 1: return compare_strings(L, a, b);
    case 2: return lua_toboolean(L, a) - lua_toboolean(L, b);
    default: return 0;
    }
}

/* Counts the keys of the table at `t`; true when they are exactly 1..n. */
static bool is_list(lua_State *L, int t, lua_Integer *count)
{
    lua_Integer border = (lua_Integer)lua_rawlen(L, t), n = 0;
    bool list = true;
    lua_pushnil(L);
    while (lua_next(L, t)) {
        lua_pop(L, 1);
        n++;
        if (list &&
            (!lua_isinteger(L, -1) || lua_tointeger(L, -1) < 1 || lua_tointeger(L, -1) > border)) {
            list = false;
        }
    }
    *count = n;
    return list;
}

static bool key_less(lua_State *L) { return compare_keys(L, -2, -1) < 0; }

/* Pushes the sorted list of the keys of the table at `t`. [-0, +1] */
static void push_keys(lua_State *L, int t, lua_Integer n)
{
    lua_createtable(L, (int)n, 0);
    int list = lua_absindex(L, -1);
    lua_Integer i = 0;
    lua_pushnil(L);
    while (lua_next(L, t)) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_rawseti(L, list, ++i);
    }
    sandbox_merge_sort(L, n, key_less, false);
}

static unsigned log2_of(uint64_t n)
{
    unsigned bits = 1;
    while (n >>= 1) {
        bits++;
    }
    return bits;
}

/* Iterator over a list: (t, i) -> i + 1, t[i + 1]; holes are skipped up to the border
 * that was there at the start (upvalue 1). */
static int list_step(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer border = lua_tointeger(L, lua_upvalueindex(1));
    lua_Integer i = luaL_checkinteger(L, 2);
    while (i < border) {
        i++;
        lua_pushinteger(L, i);
        if (lua_rawgeti(L, 1, i) != LUA_TNIL) {
            return 2;
        }
        lua_pop(L, 2);
    }
    lua_pushnil(L);
    return 1;
}

/* Iterator over sorted keys: upvalues are the list and the place in it. */
static int keys_step(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer at = lua_tointeger(L, lua_upvalueindex(2));
    for (;;) {
        if (lua_rawgeti(L, lua_upvalueindex(1), ++at) == LUA_TNIL) {
            return 1;
        }
        lua_pushvalue(L, -1);
        if (lua_rawget(L, 1) != LUA_TNIL) {
            lua_pushinteger(L, at);
            lua_replace(L, lua_upvalueindex(2));
            return 2;
        }
        lua_pop(L, 2);
    }
}

int sandbox_pairs(lua_State *L)
{
    luaL_checkany(L, 1);
    if (luaL_getmetafield(L, 1, "__pairs") != LUA_TNIL) {
        lua_pushvalue(L, 1);
        lua_call(L, 1, 3);
        return 3;
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_Integer n;
    bool list = is_list(L, 1, &n);
    sandbox_charge(L, (uint64_t)n / 8);
    if (list) {
        lua_pushinteger(L, (lua_Integer)lua_rawlen(L, 1));
        lua_pushcclosure(L, list_step, 1);
        lua_pushvalue(L, 1);
        lua_pushinteger(L, 0);
        return 3;
    }
    sandbox_charge(L, (uint64_t)n * log2_of((uint64_t)n));
    push_keys(L, 1, n);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, keys_step, 2);
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    return 3;
}

/* next(t[, key]): the smallest key after `key`, found by looking at all of them. Objects
 * as keys have no order among themselves: they come last, in the table's own. */
int sandbox_next(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    bool after_object = !lua_isnil(L, 2) && rank(lua_type(L, 2)) == 3;
    bool seen = false; /* the key itself, when it is an object */
    lua_pushnil(L);    /* 3: the best key so far */
    uint64_t n = 0;
    lua_pushnil(L);
    while (lua_next(L, 1)) {
        lua_pop(L, 1);
        n++;
        bool object = rank(lua_type(L, 4)) == 3;
        bool later;
        if (after_object) {
            later = object && seen;
            seen = seen || lua_rawequal(L, 4, 2);
        } else {
            later = lua_isnil(L, 2) || compare_keys(L, 4, 2) > 0;
        }
        if (later && (lua_isnil(L, 3) || compare_keys(L, 4, 3) < 0)) {
            lua_copy(L, 4, 3);
        }
    }
    sandbox_charge(L, n / 4);
    if (lua_isnil(L, 3)) {
        return 1;
    }
    lua_pushvalue(L, 3);
    lua_rawget(L, 1);
    return 2;
}
