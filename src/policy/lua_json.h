/* The `json` library of every Lua state of the program (lua.md 1).
 *
 *   json.decode(text) -> value      integers stay integers, null is nil, lists are marked
 *   json.encode(value) -> text      keys sorted; an empty table is {} unless it is a list
 *   json.list(t) -> t               marks a list; json.list() makes an empty one
 *   json.is_list(t) -> boolean
 *
 * Everything marked MAY_RAISE may only be called inside a pcall. */
#ifndef USHER_POLICY_LUA_JSON_H
#define USHER_POLICY_LUA_JSON_H

#include <stdbool.h>

#include <lua.h>

#include "base/buf.h"
#include "base/error.h"
#include "policy/json_text.h"

/* Renders a userdata at `index` into `out` and returns true; false: it has no JSON form.
 * Keeps the stack as it was. */
typedef bool (*lua_json_other_cb)(lua_State *L, int index, struct buf *out);

/* [-0, +1] Pushes the `json` table; MAY_RAISE. `other` (may be NULL) is used by
 * json.encode. */
int lua_json_open(lua_State *L, lua_json_other_cb other);
/* Appends JSON text; raises with the place of what cannot be rendered. MAY_RAISE: `out`
 * belongs to the caller, who frees it in either case. */
void lua_json_encode(lua_State *L, int index, struct buf *out, lua_json_other_cb other);
/* [-0, +1] MAY_RAISE ("JSON: ... at byte N"). */
void lua_json_decode(lua_State *L, struct span text);
/* [-1, +1] Marks the table on the top as a list. MAY_RAISE. */
void lua_json_mark_list(lua_State *L);
/* 0 or ERR_BADARG; no Lua state is needed. */
static inline int lua_json_check(struct span text, struct error *e) { return json_check(text, e); }

#endif
