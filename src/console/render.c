/* See render.h. An answer that cannot be rendered is printed as it came: data must not
 * get lost because its picture could not be drawn.
 *
 * The Lua state is the client's own and runs only files of this program, so it has the
 * standard libraries; `require "usher.NAME"` finds what is compiled in. */
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
#include "console/output.h"
#include "console/pager.h"
#include "policy/lua_json.h"

struct render {
    lua_State *L;
    FILE *out;
    const char *format;
    struct buf columns; /* said ahead of what they are for */
    bool tty, colour, paged, progress /* a line of progress is on the screen */;
};

static const char *const formats[] = { "table", "json", "lua", "csv", NULL };

static int load_embedded(lua_State *L)
{
    const struct embed_file *file = lua_touserdata(L, lua_upvalueindex(1));
    lua_pushfstring(L, "=%s.lua", file->name);
    if (luaL_loadbufferx(L, file->text, file->len, lua_tostring(L, -1), "t") != LUA_OK) {
        return lua_error(L);
    }
    lua_call(L, 0, 1);
    return 1;
}

static void keep_module(lua_State *L, const char *name)
{
    lua_getglobal(L, "require");
    lua_pushstring(L, name);
    lua_call(L, 1, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, name);
}

static int open_state(lua_State *L)
{
    luaL_openlibs(L);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    for (const struct embed_file *f = embed_files; f->name != NULL; f++) {
        if (strncmp(f->name, "usher/", strlen("usher/")) == 0) {
            luaL_gsub(L, f->name, "/", ".");
            lua_pushlightuserdata(L, (void *)(uintptr_t)f);
            lua_pushcclosure(L, load_embedded, 1);
            lua_settable(L, -3);
        }
    }
    lua_settop(L, 0);
    keep_module(L, "usher.render");
    keep_module(L, "usher.live");
    keep_module(L, "usher.assist");
    return 0;
}

int render_format(struct render *r, const char *format, struct error *e)
{
    for (const char *const *f = formats; *f != NULL; f++) {
        if (strcmp(*f, format != NULL ? format : formats[0]) == 0) {
            r->format = *f;
            return 0;
        }
    }
    error_set(e, ERR_BADARG, "`%s` is no output format", format);
    error_hint(e, "write -w table, json, lua or csv");
    return ERR_BADARG;
}

int render_new(const char *format, FILE *out, struct render **result, struct error *e)
{
    struct render *r = mem_zalloc(sizeof *r);
    if (r == NULL) {
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    const char *term = getenv("TERM");
    r->out = out;
    r->tty = isatty(fileno(out)) == 1;
    r->colour = r->tty && getenv("NO_COLOR") == NULL && term != NULL && strcmp(term, "dumb") != 0;
    r->L = luaL_newstate();
    int code =
        r->L != NULL ? render_format(r, format, e) : error_set(e, ERR_NOMEM, "out of memory");
    if (code == 0) {
        lua_pushcfunction(r->L, open_state);
        if (lua_pcall(r->L, 0, 0, 0) != LUA_OK) {
            code = error_set(e, ERR_INTERNAL, "%s", lua_tostring(r->L, -1));
        }
    }
    if (code != 0) {
        render_free(r);
        return code;
    }
    *result = r;
    return 0;
}

void render_free(struct render *r)
{
    if (r->L != NULL) {
        lua_close(r->L);
    }
    buf_free(&r->columns);
    mem_free(r);
}

void render_paged(struct render *r, bool paged) { r->paged = paged && r->tty; }

bool render_on_terminal(const struct render *r) { return r->tty; }

static void terminal_size(const struct render *r, int *width, int *height)
{
    struct winsize size;
    bool known = r->tty && ioctl(fileno(r->out), TIOCGWINSZ, &size) == 0;
    *width = known && size.ws_col > 0 ? size.ws_col : 80;
    *height = known && size.ws_row > 0 ? size.ws_row : 24;
}

int render_width(const struct render *r)
{
    int width, height;
    terminal_size(r, &width, &height);
    return width;
}

/* ---- Printing ------------------------------------------------------------------------------- */

struct job {
    const struct render *r;
    struct span kind, json, columns; /* kind empty: a whole answer */
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

/* [-0, +1] MAY_RAISE */
static void push_context(lua_State *L, const struct render *r)
{
    int width, height;
    terminal_size(r, &width, &height);
    lua_newtable(L);
    lua_pushstring(L, r->format);
    lua_setfield(L, -2, "format");
    lua_pushinteger(L, width);
    lua_setfield(L, -2, "width");
    lua_pushinteger(L, height);
    lua_setfield(L, -2, "height");
    lua_pushboolean(L, r->colour);
    lua_setfield(L, -2, "colour");
    lua_pushboolean(L, !r->tty);
    lua_setfield(L, -2, "piped");
}

static int render_protected(lua_State *L)
{
    const struct job *job = lua_touserdata(L, 1);
    bool frame = job->kind.len > 0;
    lua_getfield(L, LUA_REGISTRYINDEX, frame ? "usher.live" : "usher.render");
    lua_getfield(L, -1, frame ? "frame" : "render");
    if (frame) {
        lua_getfield(L, LUA_REGISTRYINDEX, "usher.render");
        lua_pushlstring(L, job->kind.data, job->kind.len);
    }
    lua_pushlstring(L, job->json.data, job->json.len);
    push_json(L, job->json);
    push_json(L, job->columns);
    push_context(L, job->r);
    lua_call(L, frame ? 6 : 4, 1);
    luaL_checkstring(L, -1);
    return 1;
}

static void end_progress(struct render *r)
{
    if (r->progress) {
        r->progress = false;
        (void)fputs("\r\33[K", stderr);
    }
}

static void print_job(struct render *r, const struct job *job, const char *end)
{
    lua_pushcfunction(r->L, render_protected);
    lua_pushlightuserdata(r->L, (void *)(uintptr_t)job);
    struct span text = job->json;
    if (lua_pcall(r->L, 1, 1, 0) == LUA_OK) {
        text.data = lua_tolstring(r->L, -1, &text.len);
    } else {
        end = "\n";
    }
    end_progress(r);
    if (!r->paged || end[0] == 0 || !pager_show(r->out, text, r->colour)) {
        (void)fwrite(text.data, 1, text.len, r->out);
        (void)fputs(end, r->out);
    }
    output_flush(r->out);
    lua_pop(r->L, 1);
}

void render_print(struct render *r, struct span json, struct span columns)
{
    struct job job = { .r = r, .json = json, .columns = columns };
    if (columns.len == 0 && r->columns.len > 0) {
        job.columns = span_make((const char *)r->columns.data, r->columns.len);
    }
    print_job(r, &job, "\n");
}

static int begin_protected(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "usher.live");
    lua_getfield(L, -1, "reset");
    lua_call(L, 0, 0);
    return 0;
}

void render_begin(struct render *r)
{
    buf_clear(&r->columns);
    lua_pushcfunction(r->L, begin_protected);
    if (lua_pcall(r->L, 0, 0, 0) != LUA_OK) {
        lua_pop(r->L, 1);
    }
}

/* On a terminal the line replaces the one before; elsewhere each is a line of its own. */
/* One line, drawn over the one before it; a text that ends its line stays on the screen. */
static void print_progress(struct render *r, struct span text)
{
    bool stays = text.len > 0 && text.data[text.len - 1] == '\n';
    text.len -= stays;
    if (stays || isatty(STDERR_FILENO) != 1) {
        end_progress(r);
        (void)fprintf(stderr, "%.*s\n", (int)text.len, text.data);
        return;
    }
    int width = render_width(r) - 1;
    (void)fprintf(stderr, "\r\33[K%.*s", (int)text.len < width ? (int)text.len : width, text.data);
    (void)fflush(stderr);
    r->progress = true;
}

void render_frame(struct render *r, struct span kind, struct span text, struct span columns)
{
    if (span_is(kind, "value")) {
        render_print(r, text, columns);
    } else if (span_is(kind, "progress")) {
        print_progress(r, text);
    } else if (span_is(kind, "columns")) {
        buf_clear(&r->columns);
        buf_put(&r->columns, text.data, text.len);
    } else if (span_is(kind, "live") || span_is(kind, "change") || span_is(kind, "row")) {
        struct job job = { r, kind, text, columns };
        job.columns = span_make((const char *)r->columns.data, r->columns.len);
        print_job(r, &job, "");
    } else if (span_is(kind, "out")) {
        end_progress(r);
        (void)fwrite(text.data, 1, text.len, r->out);
        output_flush(r->out);
    }
}

static int utf8_length(const char *text, size_t len)
{
    int n = 0;
    for (size_t i = 0; i < len; i++) {
        n += ((unsigned char)text[i] & 0xC0) != 0x80;
    }
    return n;
}

/* A message on a terminal: broken between words, never inside one that fits. */
static void print_broken(const char *text, int width)
{
    int column = 0;
    while (*text != 0) {
        size_t len = strcspn(text, " \n");
        int columns = utf8_length(text, len);
        bool next = column > 0 && column + 1 + columns > width;
        if (column > 0) {
            (void)fputc(next ? '\n' : ' ', stderr);
        }
        column = next || column == 0 ? columns : column + 1 + columns;
        (void)fwrite(text, 1, len, stderr);
        text += len;
        if (*text == '\n') {
            (void)fputc('\n', stderr);
            column = 0;
        }
        text += *text != 0;
    }
    (void)fputc('\n', stderr);
}

void render_error(const struct error *e, struct span traceback)
{
    char line[ERROR_MESSAGE_BYTES + ERROR_HINT_BYTES + 32];
    struct winsize size;
    (void)error_format(e, line, sizeof line);
    if (isatty(STDERR_FILENO) == 1 && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0) {
        (void)fputs("\r\33[K", stderr);
        print_broken(line, size.ws_col > 0 ? size.ws_col : 80);
    } else {
        (void)fprintf(stderr, "%s\n", line);
    }
    if (traceback.len > 0) {
        (void)fprintf(stderr, "%.*s\n", (int)traceback.len, traceback.data);
    }
}

/* ---- assist.lua ----------------------------------------------------------------------------- */

struct assist {
    const char *function;
    const struct span *args;
    size_t count;
    bool json;
    struct buf *results[2];
    bool found;
};

static int assist_protected(lua_State *L)
{
    struct assist *a = lua_touserdata(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, "usher.assist");
    lua_getfield(L, -1, a->function);
    for (size_t i = 0; i < a->count; i++) {
        if (i > 0 || !a->json) {
            lua_pushlstring(L, a->args[i].data, a->args[i].len);
        } else if (a->args[0].len == 0) {
            lua_pushnil(L);
        } else {
            lua_json_decode(L, a->args[0]);
        }
    }
    lua_call(L, (int)a->count, 2);
    a->found = lua_toboolean(L, -2);
    for (int i = 0; i < 2; i++) {
        size_t len;
        const char *text = lua_tolstring(L, -2 + i, &len);
        if (a->results[i] != NULL && text != NULL) {
            buf_put(a->results[i], text, len);
        }
    }
    return 0;
}

static bool assist(struct render *r, struct assist *a)
{
    for (int i = 0; i < 2; i++) {
        if (a->results[i] != NULL) {
            buf_clear(a->results[i]);
        }
    }
    lua_pushcfunction(r->L, assist_protected);
    lua_pushlightuserdata(r->L, a);
    if (lua_pcall(r->L, 1, 0, 0) != LUA_OK) {
        lua_pop(r->L, 1);
        return false;
    }
    return a->found;
}

bool render_assist(struct render *r, const char *function, const struct span *args, size_t count,
                   struct buf *first, struct buf *second)
{
    struct assist a = { function, args, count, false, { first, second }, false };
    return assist(r, &a);
}

bool render_assist_json(struct render *r, const char *function, const struct span *args,
                        size_t count, struct buf *first, struct buf *second)
{
    struct assist a = { function, args, count, true, { first, second }, false };
    return assist(r, &a);
}
