/* The policy VM and the store as a library of plain Lua: what lua/usher/test stands on.
 *
 *   local core = require "usher.house"
 *
 *   core.json                            the `json` of policies
 *   core.bundle(path) -> bytes           a file or folder as a bundle; nil, message, hint
 *   core.time(text) -> ms | nil          "2026-05-01 10:00", UTC
 *   core.vm() -> vm                      a policy VM with the default policy
 *   vm:load(bytes|nil, version) -> true  nil: the default policy; or nil, message
 *   vm:seed(n)                           randomness from here on
 *   core.store() -> store                an empty one
 *   store:run(vm, words, now_ms, user) -> true, json, order, order2
 *                                      | false, code, message, hint, fields
 *       one command as its own entry of the log; user {name=, access=, roles={...}}
 *   store:expire(vm, now_ms) -> n        every hold whose time has come
 *   store:record(bytes, version, now_ms, author)   as `policy deploy` leaves it
 *   store:emits() -> list of {name, json}          of the last command
 *   store:plan(event) -> plan | nil      rows of seats, areas; event numbers for status()
 *   store:status(event, seat) -> "free" ...        store:owner(event, seat) -> order, customer
 *   store:area(event, area) -> held, booked        store:check() -> true | nil, message
 *
 * Hosted by the program (`usher policy test`), and built as usher_house.so for plain busted. */
#ifndef USHER_POLICY_TEST_VM_H
#define USHER_POLICY_TEST_VM_H

#include <lua.h>

__attribute__((visibility("default"))) int luaopen_usher_house(lua_State *L);

#endif
