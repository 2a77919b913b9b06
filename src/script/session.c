/* Sessions: one client's console. Lines are commands or Lua (docs/lua.md, 4); globals live as
 * long as the session and belong to it alone. */
#include <string.h>

#include "base/mem.h"
#include "script/script_impl.h"

#define STATUS_INCOMPLETE 2

/* ---- Making and freeing ---------------------------------------------------------------- */

void push_script_globals(lua_State *L)
{
    struct vm *vm = script_vm(L);
    lua_newtable(L);
    lua_createtable(L, 0, 2);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->sandbox.globals);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
}

static int make_env(lua_State *L)
{
    struct session *x = lua_touserdata(L, 1);
    push_script_globals(L);
    x->env = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

uint64_t *scripts_session_seen(struct session *x) { return &x->seen_index; }

static int check_room(const struct scripts *s, struct error *e)
{
    if (s->sessions < SCRIPT_SESSIONS_MAX) {
        return 0;
    }
    (void)error_set(e, ERR_BUSY, "%d consoles and scripts of clients are open on this node",
                    SCRIPT_SESSIONS_MAX);
    error_hint(e, "close one, or ask another node of the cluster");
    return ERR_BUSY;
}

struct session *scripts_session_new(struct scripts *s, const struct policy_user *user,
                                    struct error *e)
{
    if (check_room(s, e) != 0) {
        return NULL;
    }
    struct session *x = mem_zalloc(sizeof *x);
    if (x == NULL) {
        (void)error_set(e, ERR_NOMEM, "out of memory");
        return NULL;
    }
    x->vm = vm_new(s, VM_SESSION, "session", e);
    if (x->vm == NULL) {
        mem_free(x);
        return NULL;
    }
    if (vm_protected(x->vm, make_env, x, e) != 0) {
        vm_retire(x->vm);
        mem_free(x);
        return NULL;
    }
    user_keep(&x->user, user);
    s->sessions++;
    return x;
}

void scripts_session_free(struct session *x)
{
    struct scripts *s = x->vm->scripts;
    for (struct task *t = s->tasks, *next; t != NULL; t = next) {
        next = t->next;
        if (t->session == x) {
            t->on = NULL;
            t->session = NULL;
            if (t == s->running) {
                task_kill(t, "the session has ended");
            } else {
                task_drop(t);
            }
        }
    }
    s->sessions--;
    vm_retire(x->vm);
    user_drop(&x->user);
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
static bool is_command(const struct scripts *s, struct span line)
{
    size_t n = 0;
    while (n < line.len && word_byte(line.data[n])) {
        n++;
    }
    if (n == 0 || registry_find(s->registry, span_make(line.data, n)) == NULL) {
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

static bool is_transaction(const struct scripts *s, const char *word)
{
    const struct command_def *def = registry_find(s->registry, span_of(word));
    return def != NULL && def->kind == COMMAND_TRANSACTION;
}

/* ---- Building the coroutine ------------------------------------------------------------------ */

struct build {
    struct task *t;
    struct session *x;
    struct span line;    /* the statement, script or words (NUL-ended each) */
    const char *name;    /* chunk name */
    int words;           /* > 0: a command */
    struct span request; /* its request id, may be empty */
    bool expression;     /* `=` in front */
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
    lua_pushstring(L, name);
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
    push_script_globals(L); /* a script's globals are its own */
    lua_createtable(L, (int)b->args_count, 1);
    for (size_t i = 0; i < b->args_count; i++) {
        lua_pushlstring(L, b->args[i].data, b->args[i].len);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_pushstring(L, b->name + 1);
    lua_rawseti(L, -2, 0);
    lua_setfield(L, -2, "arg");
}

/* A line that is one name must name something. MAY_RAISE */
static void need_name(lua_State *L, const struct build *b)
{
    static const char *const values[] = { "nil", "true", "false", "break", "return", NULL };
    size_t n = 0;
    while (n < b->line.len && word_byte(b->line.data[n]) && b->line.data[n] != '-') {
        n++;
    }
    bool value = n == 0 || n < b->line.len || (b->line.data[0] >= '0' && b->line.data[0] <= '9');
    for (const char *const *v = values; !value && *v != NULL; v++) {
        value = span_is(b->line, *v);
    }
    if (!b->expression && !value) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, b->x->env);
        lua_pushlstring(L, b->line.data, b->line.len);
        if (lua_gettable(L, -2) == LUA_TNIL) {
            luaL_error(L, "`%s` is nil", lua_tostring(L, -2));
        }
        lua_pop(L, 2);
    }
}

/* Protected: makes the coroutine with its function and arguments on it. */
static int build_protected(lua_State *L)
{
    struct build *b = lua_touserdata(L, 1);
    b->t->co = lua_newthread(L);
    b->t->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_State *co = b->t->co;
    int top = lua_gettop(L);
    if (b->words > 0) {
        push_runtime(L, "command");
        push_remember(L, b->x);
        const char *word = b->line.data;
        luaL_checkstack(L, b->words + 6, "too many words");
        for (int i = 0; i < b->words; i++) {
            lua_pushstring(L, word);
            word += strlen(word) + 1;
            if (i == 0 && b->request.len > 0) {
                lua_pushliteral(L, "--request");
                lua_pushlstring(L, b->request.data, b->request.len);
            }
        }
    } else if (b->script) {
        push_runtime(L, "script");
        if (load(L, "", b->line, b->name) != LUA_OK) {
            return lua_error(L);
        }
        push_script_env(L, b);
        lua_setupvalue(L, -2, 1);
    } else {
        need_name(L, b);
        push_runtime(L, "statement");
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

/* A word where a command could stand, and nothing that makes it Lua: most likely a command
 * that was misspelt. Says so in front of what Lua thinks of it. */
static void guess(const struct build *b, struct error *e)
{
    size_t n = 0;
    char lua[ERROR_MESSAGE_BYTES];
    while (n < b->line.len && word_byte(b->line.data[n])) {
        n++;
    }
    struct span rest = trim(span_make(b->line.data + n, b->line.len - n));
    if (b->script || b->words != 0 || b->expression || n == 0 ||
        (rest.len > 0 && (!blank(b->line.data[n]) || strchr("=([.:,+*/<>~%^", rest.data[0])))) {
        return;
    }
    const char *nearest = registry_nearest(b->x->vm->scripts->registry, span_make(b->line.data, n));
    if (nearest == NULL && rest.len > 0) {
        return;
    }
    (void)snprintf(lua, sizeof lua, "%s", e->message);
    (void)error_set(e, ERR_NOTFOUND, "there is no command%s `%.*s`",
                    rest.len == 0 ? " or variable" : "", (int)n, b->line.data);
    if (nearest != NULL && rest.len > 0) {
        error_hint(e, "did you mean `%s`? (as Lua: %s)", nearest, lua);
    } else if (nearest != NULL) {
        error_hint(e, "did you mean `%s`?", nearest);
    } else {
        error_hint(e, "`help` lists the commands");
    }
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
    } else {
        guess(b, &e);
    }
    task_fail(b->t, b->incomplete ? STATUS_INCOMPLETE : 1, &e);
    return b->t;
}

struct task *scripts_line(struct session *x, struct span line, const struct task_events *on,
                          void *arg)
{
    return scripts_statement(x, line, span_make("", 0), false, on, arg);
}

static bool has_request(const char *word, int words)
{
    for (int i = 0; i < words && strcmp(word, "--") != 0; i++, word += strlen(word) + 1) {
        if (command_names_request(span_of(word))) {
            return true;
        }
    }
    return false;
}

struct task *scripts_statement(struct session *x, struct span line, struct span request, bool again,
                               const struct task_events *on, void *arg)
{
    struct error e;
    struct buf words = BUF_INIT;
    struct task *t = task_new(x->vm, x, "console", &x->user.user);
    if (t == NULL) {
        return NULL;
    }
    t->on = on;
    t->arg = arg;
    line = trim(line);
    struct build b = { .t = t, .x = x, .line = line, .name = "=console" };
    if (line.len > 0 && line.data[0] == '=') {
        b.expression = true;
        b.line = trim(span_make(line.data + 1, line.len - 1));
    } else if (is_command(x->vm->scripts, line)) {
        b.words = words_split(line, &words, &e);
        b.line = span_make((const char *)words.data, words.len);
        if (b.words < 0) {
            buf_free(&words);
            task_fail(t, 1, &e);
            return t;
        }
        if (is_transaction(x->vm->scripts, b.line.data) &&
            !has_request((const char *)words.data, b.words)) {
            b.request = request;
        }
    }
    if (again && b.request.len == 0 && !has_request((const char *)words.data, b.words)) {
        (void)error_set(&e, ERR_UNKNOWN,
                        "the connection broke while this ran: it may have "
                        "happened, in part or not at all");
        error_hint(&e, "look before you run it again");
        buf_free(&words);
        task_fail(t, 1, &e);
        return t;
    }
    (void)start(&b);
    buf_free(&words);
    return t;
}

struct task *scripts_run(struct session *x, struct span name, struct span text,
                         const struct span *args, size_t args_count, const struct task_events *on,
                         void *arg)
{
    char chunk[4096];
    char title[sizeof((struct task *)NULL)->name];
    (void)snprintf(title, sizeof title, "%.*s", (int)name.len, name.data);
    /* "@" makes errors show the end of a long path. */
    (void)snprintf(chunk, sizeof chunk, "@%.*s", (int)(name.len < 4000 ? name.len : 4000),
                   name.data);
    struct task *t = task_new(x->vm, x, title, &x->user.user);
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
                       .name = chunk,
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
