/* See render.h. An answer that cannot be rendered is printed as it came: data must not
 * get lost because its picture could not be drawn. */
#include "console/render.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/embed.h"
#include "base/mem.h"
#include "base/text.h"
#include "policy/lua_json.h"

struct render {
    lua_State *L;
    FILE *out;
    const char *format;
    bool tty;
};

static const char *const formats[] = { "table", "json", "lua", "csv", NULL };

static int open_state(lua_State *L)
{
    luaL_openlibs(L);
    const struct embed_file *file = embed_find("usher/render");
    if (file == NULL ||
        luaL_loadbufferx(L, file->text, file->len, "=usher/render.lua", "t") != LUA_OK) {
        return lua_error(L);
    }
    lua_call(L, 0, 1);
    lua_getfield(L, -1, "render");
    lua_setfield(L, LUA_REGISTRYINDEX, "usher.render");
    return 0;
}

int render_new(const char *format, FILE *out, struct render **result, struct error *e)
{
    const char *found = format == NULL ? formats[0] : NULL;
    for (const char *const *f = formats; format != NULL && *f != NULL; f++) {
        if (strcmp(*f, format) == 0) {
            found = *f;
        }
    }
    if (found == NULL) {
        error_set(e, ERR_BADARG, "`%s` is no output format", format);
        error_hint(e, "write -w table, json, lua or csv");
        return ERR_BADARG;
    }
    struct render *r = mem_zalloc(sizeof *r);
    if (r == NULL) {
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    r->out = out;
    r->format = found;
    r->tty = isatty(fileno(out)) == 1;
    r->L = luaL_newstate();
    if (r->L == NULL) {
        mem_free(r);
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    lua_pushcfunction(r->L, open_state);
    if (lua_pcall(r->L, 0, 0, 0) != LUA_OK) {
        error_set(e, ERR_INTERNAL, "%s", lua_tostring(r->L, -1));
        render_free(r);
        return ERR_INTERNAL;
    }
    *result = r;
    return 0;
}

void render_free(struct render *r)
{
    lua_close(r->L);
    mem_free(r);
}

static int terminal_width(const struct render *r)
{
    struct winsize size;
    if (r->tty && ioctl(fileno(r->out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        return size.ws_col;
    }
    return 80;
}

struct job {
    const struct render *r;
    struct span json, columns;
};

/* Decodes `text`; nothing to decode is an empty table. [-0, +1] MAY_RAISE */
static void push_json(lua_State *L, struct span text)
{
    if (text.len == 0) {
        lua_newtable(L);
    } else {
        lua_json_decode(L, text);
    }
}

static int render_protected(lua_State *L)
{
    const struct job *job = lua_touserdata(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, "usher.render");
    lua_pushlstring(L, job->json.data, job->json.len);
    push_json(L, job->json);
    push_json(L, job->columns);
    lua_newtable(L);
    lua_pushstring(L, job->r->format);
    lua_setfield(L, -2, "format");
    lua_pushinteger(L, terminal_width(job->r));
    lua_setfield(L, -2, "width");
    lua_pushboolean(L, job->r->tty && getenv("NO_COLOR") == NULL);
    lua_setfield(L, -2, "colour");
    lua_pushboolean(L, !job->r->tty);
    lua_setfield(L, -2, "piped");
    lua_call(L, 4, 1);
    luaL_checkstring(L, -1);
    return 1;
}

void render_print(struct render *r, struct span json, struct span columns)
{
    struct job job = { r, json, columns };
    lua_pushcfunction(r->L, render_protected);
    lua_pushlightuserdata(r->L, &job);
    struct span text = json;
    if (lua_pcall(r->L, 1, 1, 0) == LUA_OK) {
        text.data = lua_tolstring(r->L, -1, &text.len);
    }
    (void)fwrite(text.data, 1, text.len, r->out);
    (void)fputc('\n', r->out);
    (void)fflush(r->out);
    lua_pop(r->L, 1);
}

void render_error(const struct error *e, struct span traceback)
{
    char line[ERROR_MESSAGE_BYTES + ERROR_HINT_BYTES + 32];
    (void)error_format(e, line, sizeof line);
    (void)fprintf(stderr, "%s\n", line);
    if (traceback.len > 0) {
        (void)fprintf(stderr, "%.*s\n", (int)traceback.len, traceback.data);
    }
}
