/* host.zone(name): the bytes of a time zone's file, for time() (lua/usher/script_runtime.lua
 * reads them). A small local file, read at the moment it is asked for. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "script/script_impl.h"

#define ZONE_BYTES_MAX 65536

static bool name_allowed(const char *name)
{
    if (name[0] == 0 || name[0] == '/' || strlen(name) > 64 || strstr(name, "..") != NULL) {
        return false;
    }
    return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-/") ==
           strlen(name);
}

/* -> bytes | nil */
int host_zone(lua_State *L)
{
    struct env *env = script_vm(L)->scripts->env;
    const char *name = luaL_checkstring(L, 1);
    char path[128];
    struct env_file *f;
    size_t got = 0;
    (void)snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", name);
    if (!name_allowed(name)) {
        return 0;
    }
    char *bytes = lua_newuserdatauv(L, ZONE_BYTES_MAX, 0);
    if (env->ops->file_open(env, path, ENV_READ, &f, NULL) != 0) {
        return 0;
    }
    int code = env->ops->file_read(f, 0, bytes, ZONE_BYTES_MAX, &got, NULL);
    env->ops->file_close(f);
    if (code != 0 || got < 44 || memcmp(bytes, "TZif", 4) != 0) {
        return 0;
    }
    lua_pushlstring(L, bytes, got);
    return 1;
}
