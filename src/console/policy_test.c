/* `usher policy test PATH`: hosts plain Lua with busted and the test helpers (lua/usher/test)
 * in this process; policies run in their own sandboxed VM behind "usher.house".
 *
 * The host is as free as any Lua program of the person who starts it: specs are their own
 * code. busted ends the process by itself when a test fails (status 1). */
#include "console/policy.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/embed.h"
#include "console/console.h"
#include "policy/test_vm.h"

/* package.searchers entry: "usher.test" -> the compiled-in usher/test.lua. With USHER_LUA set
 * the file below that folder comes first, as for policies. */
static int search_embedded(lua_State *L)
{
    const char *module = luaL_checkstring(L, 1);
    const char *name = luaL_gsub(L, module, ".", "/");
    const char *dir = getenv("USHER_LUA");
    if (dir != NULL) {
        const char *path = lua_pushfstring(L, "%s/%s.lua", dir, name);
        if (luaL_loadfilex(L, path, "t") == LUA_OK) {
            lua_pushstring(L, path);
            return 2;
        }
        lua_pop(L, 1);
    }
    const struct embed_file *file = strncmp(module, "usher.", 6) == 0 ? embed_find(name) : NULL;
    if (file == NULL) {
        lua_pushfstring(L, "no compiled-in file '%s'", name);
        return 1;
    }
    const char *chunk = lua_pushfstring(L, "@%s.lua", name);
    if (luaL_loadbufferx(L, file->text, file->len, chunk, "t") != LUA_OK) {
        return lua_error(L);
    }
    lua_pushstring(L, chunk + 1);
    return 2;
}

/* [-0, +0] Puts the searcher before those that look at files. */
static void add_searcher(lua_State *L)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "searchers");
    for (lua_Integer i = luaL_len(L, -1); i >= 2; i--) {
        lua_rawgeti(L, -1, i);
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushcfunction(L, search_embedded);
    lua_rawseti(L, -2, 2);
    lua_pop(L, 1);
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, luaopen_usher_house);
    lua_setfield(L, -2, "usher.house");
    lua_pop(L, 2);
}

struct test_run {
    int argc;
    char **argv; /* the path, then busted's own options */
    bool folder;
};

static int traceback(lua_State *L)
{
    luaL_traceback(L, L, lua_tostring(L, 1), 1);
    return 1;
}

/* [struct test_run] */
static int run_protected(lua_State *L)
{
    const struct test_run *run = lua_touserdata(L, 1);
    luaL_openlibs(L);
    add_searcher(L);
    lua_newtable(L);
    for (int i = 1; i < run->argc; i++) {
        lua_pushstring(L, run->argv[i]);
        lua_rawseti(L, -2, i);
    }
    lua_setglobal(L, "arg");
    const struct embed_file *runner = embed_find("usher/test/runner");
    if (luaL_loadbufferx(L, runner->text, runner->len, "@usher/test/runner.lua", "t") != LUA_OK) {
        return lua_error(L);
    }
    lua_pushstring(L, run->argv[0]);
    lua_pushstring(L, run->folder ? "folder" : "file");
    lua_call(L, 2, 0);
    return 0;
}

int policy_test_main(int argc, char **argv)
{
    struct stat s;
    if (argc < 1 || argv[0][0] == '-') {
        bool asked = argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0);
        (void)fprintf(
            asked ? stdout : stderr,
            "usage: usher policy test PATH [--customers N] [--seed N] [BUSTED-OPTION...]\n"
            "runs the *_spec.lua of a policy's folder, or one spec file;\n"
            "--customers: every test.property plays at least so many\n");
        return asked ? EXIT_DONE : EXIT_USAGE;
    }
    if (stat(argv[0], &s) != 0) {
        (void)fprintf(stderr, "usher: there is no policy folder or spec file %s\n", argv[0]);
        return EXIT_USAGE;
    }
    struct test_run run = { .argc = argc, .argv = argv, .folder = S_ISDIR(s.st_mode) };
    lua_State *L = luaL_newstate();
    if (L == NULL) {
        (void)fprintf(stderr, "usher: out of memory\n");
        return EXIT_REFUSED;
    }
    lua_pushcfunction(L, traceback);
    lua_pushcfunction(L, run_protected);
    lua_pushlightuserdata(L, &run);
    int status = lua_pcall(L, 1, 0, 1);
    if (status != LUA_OK) {
        (void)fprintf(stderr, "usher: %s\n", lua_tostring(L, -1));
    }
    lua_close(L);
    return status == LUA_OK ? EXIT_DONE : EXIT_REFUSED;
}
