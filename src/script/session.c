/* Sessions: one client's console. Lines are commands or Lua (docs/lua.md, 4); globals live as
 * long as the session and belong to it alone. */
#include <string.h>

#include "base/mem.h"
#include "script/script_impl.h"

#define STATUS_INCOMPLETE 2

/* ---- Making and freeing ---------------------------------------------------------------- */

/* [(vm), -, a table of globals that falls back to the shared ones] */
static int make_env(lua_State *L)
{
    struct scripts *vm = script_vm(L);
    lua_newtable(L);
    lua_createtable(L, 0, 2);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->sandbox.globals);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    return 1;
}

static void copy_user(struct session *x, const struct policy_user *user)
{
    size_t n = 0;
    while (user->roles != NULL && user->roles[n] != NULL) {
        n++;
    }
    x->user_name = mem_strndup(user->name.data != NULL ? user->name.data : "", user->name.len);
    x->roles = mem_must_alloc((n + 1) * sizeof *x->roles);
    for (size_t i = 0; i < n; i++) {
        x->roles[i] = mem_strndup(user->roles[i], strlen(user->roles[i]));
    }
    x->roles[n] = NULL;
    x->user = *user;
    x->user.name = span_make(x->user_name, user->name.len);
    x->user.roles = (const char *const *)x->roles;
}

struct session *scripts_session_new(struct scripts *vm, const struct policy_user *user)
{
    struct session *x = mem_zalloc(sizeof *x);
    if (x == NULL) {
        return NULL;
    }
    lua_State *L = vm->sandbox.L;
    x->vm = vm;
    lua_pushcfunction(L, make_env);
    if (lua_pcall(L, 0, 1, 0) != LUA_OK) {
        lua_pop(L, 1);
        mem_free(x);
        return NULL;
    }
    x->env = luaL_ref(L, LUA_REGISTRYINDEX);
    copy_user(x, user);
    return x;
}

void scripts_session_free(struct session *x)
{
    for (struct task *t = x->vm->tasks, *next; t != NULL; t = next) {
        next = t->next;
        if (t->session == x) {
            t->on = NULL;
            t->session = NULL;
            if (t == x->vm->running) {
                task_kill(t, "the session has ended");
            } else {
                task_drop(t);
            }
        }
    }
    luaL_unref(x->vm->sandbox.L, LUA_REGISTRYINDEX, x->env);
    for (char **role = x->roles; *role != NULL; role++) {
        mem_free(*role);
    }
    mem_free(x->roles);
    mem_free(x->user_name);
    mem_free(x);
}

/* ---- What a line is ------------------------------------------------------------------------ */

static bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static struct span trim(struct span s)
{
    while (s.len > 0 && blank(s.data[0])) {
        s.data++;
        s.len--;
    }
    while (s.len > 0 && blank(s.data[s.len - 1])) {
        s.len--;
    }
    return s;
}

static bool word_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

/* A command, unless what follows its first word makes it Lua. */
static bool is_command(const struct scripts *vm, struct span line)
{
    size_t n = 0;
    while (n < line.len && word_byte(line.data[n])) {
        n++;
    }
    if (n == 0 || registry_find(vm->registry, span_make(line.data, n)) == NULL) {
        return false;
    }
    struct span rest = trim(span_make(line.data + n, line.len - n));
    if (rest.len == 0) {
        return true;
    }
    bool apart = blank(line.data[n]);
    bool json =
        apart && rest.data[0] == '[' && rest.len > 1 && strchr("{[\"", rest.data[1]) != NULL;
    return json || strchr("=([.:,", rest.data[0]) == NULL;
}

/* ---- Building the coroutine ------------------------------------------------------------------ */

struct build {
    struct task *t;
    struct session *x;
    struct span line; /* the statement, script or words (NUL-ended each) */
    const char *name; /* chunk name */
    int words;        /* > 0: a command */
    bool expression;  /* `=` in front */
    const struct span *args;
    size_t args_count;
    bool script;
    bool incomplete;
};

/* remember(value): keeps `_` of the session. Upvalue 1: its globals. */
static int remember(lua_State *L)
{
    lua_settop(L, 1);
    lua_pushliteral(L, "_");
    lua_insert(L, 1);
    lua_rawset(L, lua_upvalueindex(1));
    return 0;
}

static void push_runtime(lua_State *L, struct scripts *vm, const char *name)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->runtime);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}

static void push_remember(lua_State *L, const struct session *x)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, x->env);
    lua_pushcclosure(L, remember, 1);
}

/* True when the compiler stopped at the end of the text: more lines may complete it. */
static bool ends_early(lua_State *L)
{
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    return text != NULL && len >= 5 && strcmp(text + len - 5, "<eof>") == 0;
}

static int load(lua_State *L, const char *prefix, struct span text, const char *name)
{
    lua_pushfstring(L, "=%s", name);
    lua_pushstring(L, prefix);
    lua_pushlstring(L, text.data, text.len);
    lua_concat(L, 2);
    size_t len;
    const char *whole = lua_tolstring(L, -1, &len);
    int rc = luaL_loadbufferx(L, whole, len, lua_tostring(L, -2), "t");
    lua_replace(L, -3);
    lua_pop(L, 1);
    return rc;
}

/* [-0, +1] The statement as a function: an expression if it can be one. */
static void push_statement(lua_State *L, struct build *b)
{
    if (load(L, "return ", b->line, b->name) == LUA_OK) {
        return;
    }
    bool early = b->expression && ends_early(L);
    if (!b->expression) {
        lua_pop(L, 1);
        if (load(L, "", b->line, b->name) == LUA_OK) {
            return;
        }
        early = ends_early(L);
    }
    b->incomplete = early;
    (void)lua_error(L);
}

static void push_script_env(lua_State *L, const struct build *b)
{
    (void)make_env(L); /* a script's globals are its own */
    lua_createtable(L, (int)b->args_count, 1);
    for (size_t i = 0; i < b->args_count; i++) {
        lua_pushlstring(L, b->args[i].data, b->args[i].len);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_pushstring(L, b->name);
    lua_rawseti(L, -2, 0);
    lua_setfield(L, -2, "arg");
}

/* Protected: makes the coroutine with its function and arguments on it. */
static int build_protected(lua_State *L)
{
    struct build *b = lua_touserdata(L, 1);
    struct scripts *vm = b->t->vm;
    b->t->co = lua_newthread(L);
    b->t->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_State *co = b->t->co;
    int top = lua_gettop(L);
    if (b->words > 0) {
        push_runtime(L, vm, "command");
        push_remember(L, b->x);
        const char *word = b->line.data;
        luaL_checkstack(L, b->words + 4, "too many words");
        for (int i = 0; i < b->words; i++) {
            lua_pushstring(L, word);
            word += strlen(word) + 1;
        }
    } else if (b->script) {
        if (load(L, "", b->line, b->name) != LUA_OK) {
            return lua_error(L);
        }
        push_script_env(L, b);
        lua_setupvalue(L, -2, 1);
    } else {
        push_runtime(L, vm, "statement");
        push_statement(L, b);
        lua_rawgeti(L, LUA_REGISTRYINDEX, b->x->env);
        lua_setupvalue(L, -2, 1);
        push_remember(L, b->x);
    }
    int n = lua_gettop(L) - top;
    if (lua_checkstack(co, n + LUA_MINSTACK) == 0) {
        return luaL_error(L, "too many words");
    }
    lua_xmove(L, co, n);
    b->t->args = n - 1;
    return 0;
}

static struct task *start(struct build *b)
{
    lua_State *L = b->t->vm->sandbox.L;
    lua_pushcfunction(L, build_protected);
    lua_pushlightuserdata(L, b);
    if (lua_pcall(L, 1, 0, 0) == LUA_OK) {
        task_start(b->t);
        return b->t;
    }
    struct error e;
    const char *text = lua_tostring(L, -1);
    (void)error_set(&e, ERR_BADARG, "%s", text != NULL ? text : "cannot be compiled");
    lua_pop(L, 1);
    if (b->incomplete) {
        error_clear(&e);
    }
    task_fail(b->t, b->incomplete ? STATUS_INCOMPLETE : 1, &e);
    return b->t;
}

struct task *scripts_line(struct session *x, struct span line, const struct task_events *on,
                          void *arg)
{
    struct error e;
    struct buf words = BUF_INIT;
    struct task *t = task_new(x->vm, x, "console", &x->user);
    if (t == NULL) {
        return NULL;
    }
    t->on = on;
    t->arg = arg;
    line = trim(line);
    struct build b = { .t = t, .x = x, .line = line, .name = "console" };
    if (line.len > 0 && line.data[0] == '=') {
        b.expression = true;
        b.line = trim(span_make(line.data + 1, line.len - 1));
    } else if (is_command(x->vm, line)) {
        b.words = words_split(line, &words, &e);
        b.line = span_make((const char *)words.data, words.len);
        if (b.words < 0) {
            buf_free(&words);
            task_fail(t, 1, &e);
            return t;
        }
    }
    (void)start(&b);
    buf_free(&words);
    return t;
}

struct task *scripts_run(struct session *x, struct span name, struct span text,
                         const struct span *args, size_t args_count, const struct task_events *on,
                         void *arg)
{
    char title[sizeof x->vm->tasks->name];
    (void)snprintf(title, sizeof title, "%.*s", (int)name.len, name.data);
    struct task *t = task_new(x->vm, x, title, &x->user);
    if (t == NULL) {
        return NULL;
    }
    t->on = on;
    t->arg = arg;
    if (text.len > 2 && text.data[0] == '#' &&
        text.data[1] == '!') { /* a script may be executable */
        const char *end = memchr(text.data, '\n', text.len);
        size_t skip = end != NULL ? (size_t)(end - text.data) : text.len;
        text = span_make(text.data + skip, text.len - skip);
    }
    struct build b = { .t = t,
                       .x = x,
                       .line = text,
                       .name = title,
                       .script = true,
                       .args = args,
                       .args_count = args_count };
    return start(&b);
}

void scripts_kill(struct task *t, const char *why) { task_kill(t, why); }

void scripts_pause(struct task *t, bool paused)
{
    t->paused = paused;
    if (!paused && t->state == TASK_BLOCKED) {
        task_wake(t);
    }
}
