/* `command{...}` in Lua -> struct command_def (docs/lua.md, 2), for both VMs. */
#ifndef USHER_POLICY_COMMAND_LUA_H
#define USHER_POLICY_COMMAND_LUA_H

#include <lua.h>

#include "policy/command.h"

/* Reads the table at `index`. kind: enum command_kind, which the table's `kind` must not
 * contradict. 0: *def is new and the caller's (command_def_free). ERR_BADARG: e names the
 * command and the member. Never raises; leaves the stack as it was. */
int command_def_from_lua(lua_State *L, int index, int kind, struct command_def **def,
                         struct error *e);

#endif
