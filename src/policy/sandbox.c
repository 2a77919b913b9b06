/* Globals, budget hook and compilation of a sandbox (sandbox.h).
 *
 * The stock libraries are opened once, the allowed functions are copied into fresh
 * tables, and the originals become unreachable: the registry's own globals table is
 * emptied and package.loaded dropped. A chunk's _ENV is a table of its own whose
 * metatable reads the real globals and refuses writes.
 *
 * X1 no function that reads files, loads bytecode, makes coroutines or controls the
 *    collector is reachable from any global, metatable or upvalue of an allowed function.
 * X2 metatables a script can see are locked (__metatable = false), strings' included.
 * X3 a run that is over budget executes no further instruction outside the pcalls it
 *    is being thrown through. */
#include "policy/sandbox.h"

#include <lualib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"

bool sandbox_guards(lua_State *L) { return lua_getallocf(L, NULL) == sandbox_alloc; }

struct sandbox *sandbox_of(lua_State *L)
{
    struct sandbox *sb;
    memcpy(&sb, lua_getextraspace(L), sizeof(sb));
    return sb;
}

/* ---- Budget ---------------------------------------------------------------- */

static uint64_t cpu_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t wall_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The wall clock costs little, that of the CPU a system call: asked for only when so much time
 * may have passed. */
#define LOOK_NS 200000

/* Much memory is a part like this of what there may be: a string that doubles passes it in time. */
#define FULL_PART        32
/* Charges after which the clock is looked at, where C code works for long by itself. */
#define CHARGES_PER_LOOK 50000

static uint64_t cpu_ms_max(const struct sandbox *sb)
{
    return sb->cpu_ms_max != 0 ? sb->cpu_ms_max : SANDBOX_CPU_MS_MAX;
}

static bool over_budget(struct sandbox *sb)
{
    if (sb->over) {
        return true;
    }
    uint64_t wall = wall_ns();
    sb->looked = sb->spent;
    if (sb->cpu_start_ns == 0 || wall - sb->looked_ns >= LOOK_NS) {
        sb->looked_ns = wall;
        sb->cpu_now_ns = cpu_ns();
        sb->cpu_start_ns = sb->cpu_start_ns != 0 ? sb->cpu_start_ns : sb->cpu_now_ns;
    }
    sb->over =
        sb->spent > sb->budget || sb->cpu_now_ns - sb->cpu_start_ns > cpu_ms_max(sb) * 1000000u;
    return sb->over;
}

static void hook(lua_State *L, lua_Debug *ar);

static void arm(struct sandbox *sb, lua_State *L, int quantum)
{
    sb->quantum_armed = quantum;
    lua_sethook(L, hook, LUA_MASKCOUNT, quantum);
}

/* A hook may be set at any moment, from a signal even. Never to a later moment than it is: a
 * script that makes and drops long strings would put it off for ever. */
void sandbox_look_closer(struct sandbox *sb)
{
    if (sb->running != NULL && sb->quantum < sb->quantum_armed) {
        arm(sb, sb->running, sb->quantum);
    }
}

void sandbox_where(lua_State *L, char where[SANDBOX_WHERE_BYTES])
{
    lua_Debug at;
    where[0] = 0;
    for (int level = 0; where[0] == 0 && lua_getstack(L, level, &at); level++) {
        if (lua_getinfo(L, "Sl", &at) && at.currentline > 0) {
            (void)snprintf(where, SANDBOX_WHERE_BYTES, "%s:%d", at.short_src, at.currentline);
        }
    }
}

/* The first place counts: what the error passes on its way is not to blame. */
static void note_overrun(struct sandbox *sb, lua_State *L)
{
    if (sb->where[0] == 0) {
        sandbox_where(L, sb->where);
    }
}

static void too_deep(lua_State *L)
{
    luaL_where(L, 0);
    lua_pushfstring(L, "stack overflow: more than %d calls in each other", SANDBOX_CALLS_MAX);
    lua_concat(L, 2);
    lua_error(L);
}

static void hook(lua_State *L, lua_Debug *ar)
{
    struct sandbox *sb = sandbox_of(L);
    sb->spent += (uint64_t)sb->quantum_armed;
    if (!over_budget(sb)) {
        if (lua_getstack(L, SANDBOX_CALLS_MAX, ar)) {
            too_deep(L);
        }
        if (sb->memory_bytes > sb->memory_max / FULL_PART && !sb->no_memory) {
            sandbox_where(L, sb->full); /* Lua's own error for it has no place */
        }
        if (sb->quantum != sb->quantum_armed) {
            arm(sb, L, sb->quantum);
        }
        bool whole = sb->spent >= sb->slice || sb->cpu_now_ns - sb->cpu_start_ns > sb->slice_ns;
        if (sb->slice != 0 && whole && lua_isyieldable(L)) {
            sb->sliced = true;
            lua_yield(L, 0);
        }
        return;
    }
    note_overrun(sb, L);
    if (lua_isyieldable(L)) {
        lua_yield(L, 0); /* returns; the interpreter leaves right after the hook */
        return;
    }
    arm(sb, L, 1);
    luaL_error(L, "over budget");
}

void sandbox_arm(struct sandbox *sb, lua_State *co, uint64_t budget)
{
    sb->spent = sb->looked = 0;
    sb->budget = budget;
    sb->cpu_start_ns = 0;
    sb->sliced = false;
    sb->over = false;
    sb->no_memory = false;
    sb->where[0] = sb->full[0] = 0;
    sb->running = co;
    arm(sb, co, sb->quantum);
}

void sandbox_disarm(lua_State *co)
{
    sandbox_of(co)->running = NULL;
    lua_sethook(co, NULL, 0, 0);
}

void sandbox_charge(lua_State *L, uint64_t n)
{
    struct sandbox *sb = sandbox_of(L);
    sb->spent += n;
    bool look = sb->spent > sb->budget || sb->spent - sb->looked > CHARGES_PER_LOOK;
    if (look && over_budget(sb) && lua_gethook(L) == hook) {
        note_overrun(sb, L);
        arm(sb, L, 1);
        luaL_error(L, "over budget");
    }
}

unsigned sandbox_used(const struct sandbox *sb)
{
    uint64_t ns = sb->cpu_start_ns != 0 ? sb->cpu_now_ns - sb->cpu_start_ns : 0;
    uint64_t time = ns / (cpu_ms_max(sb) * 10000u); /* of 1,000,000 ns in a ms, in percent */
    uint64_t work = sb->spent / (sb->budget / 100 + 1);
    uint64_t most = time > work ? time : work;
    return most < 100 ? (unsigned)most : 100;
}

int sandbox_pcall(lua_State *L, int args, unsigned percent)
{
    struct sandbox *sb = sandbox_of(L);
    const uint64_t budget = sb->budget, ms_max = sb->cpu_ms_max;
    sb->budget = budget / 100 * percent;
    sb->cpu_ms_max = cpu_ms_max(sb) * percent / 100;
    int status = lua_pcall(L, args, LUA_MULTRET, 0);
    sb->budget = budget;
    sb->cpu_ms_max = ms_max;
    if (sb->over) { /* the part is used up; is the whole? Calls that end early must not hide it */
        sb->over = false;
        sb->where[0] = 0;
        arm(sb, L, over_budget(sb) ? 1 : sb->quantum);
    }
    return status;
}

/* ---- Base functions -------------------------------------------------------- */

const char *sandbox_tostring(lua_State *L, int index, size_t *len)
{
    index = lua_absindex(L, index);
    if (luaL_callmeta(L, index, "__tostring")) {
        if (!lua_isstring(L, -1)) {
            luaL_error(L, "'__tostring' must return a string");
        }
        return lua_tolstring(L, -1, len);
    }
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
    case LUA_TSTRING:
    case LUA_TNIL:
    case LUA_TBOOLEAN: return luaL_tolstring(L, index, len);
    default: break;
    }
    if (luaL_getmetafield(L, index, "__name") == LUA_TSTRING) {
        return lua_tolstring(L, -1, len);
    }
    lua_pushstring(L, luaL_typename(L, index));
    return lua_tolstring(L, -1, len);
}

static int base_tostring(lua_State *L)
{
    luaL_checkany(L, 1);
    sandbox_tostring(L, 1, NULL);
    return 1;
}

static int refuse_write(lua_State *L)
{
    if (lua_type(L, 2) == LUA_TSTRING) {
        return luaL_error(L, "cannot set '%s': this table is read-only (use 'local')",
                          lua_tostring(L, 2));
    }
    return luaL_error(L, "this table is read-only");
}

bool sandbox_is_locked(lua_State *L, int index)
{
    if (luaL_getmetafield(L, index, "__newindex") == LUA_TNIL) {
        return false;
    }
    bool is = lua_tocfunction(L, -1) == refuse_write;
    lua_pop(L, 1);
    return is;
}

static int base_rawset(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checkany(L, 2);
    luaL_checkany(L, 3);
    if (sandbox_is_locked(L, 1)) {
        return luaL_error(L, "this table is read-only");
    }
    lua_settop(L, 3);
    lua_rawset(L, 1);
    return 1;
}

static int base_setmetatable(lua_State *L)
{
    int type = lua_type(L, 2);
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
    if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL) {
        return luaL_error(L, "cannot change a protected metatable");
    }
    if (type == LUA_TTABLE) {
        lua_pushstring(L, "__gc");
        if (lua_rawget(L, 2) != LUA_TNIL) {
            return luaL_error(L, "'__gc' is not available here");
        }
    }
    lua_settop(L, 2);
    lua_setmetatable(L, 1);
    return 1;
}

static int lock_pairs(lua_State *L)
{
    lua_settop(L, 1);
    lua_getmetatable(L, 1);
    lua_getfield(L, -1, "__index");
    lua_replace(L, 1);
    lua_settop(L, 1);
    return sandbox_pairs(L);
}

void sandbox_lock(lua_State *L)
{
    lua_newtable(L);          /* real, view */
    lua_createtable(L, 0, 4); /* real, view, meta */
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, refuse_write);
    lua_setfield(L, -2, "__newindex");
    lua_pushcfunction(L, lock_pairs);
    lua_setfield(L, -2, "__pairs");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_remove(L, -2);
}

/* ---- math ------------------------------------------------------------------- */

/* math.random(): [0,1); (n): [1,n]; (m,n): [m,n]. Rejection keeps it uniform. */
int sandbox_random(lua_State *L)
{
    struct sandbox *sb = sandbox_of(L);
    uint64_t r;
    if (sb->random == NULL || sb->random(L, &r) != 0) {
        return luaL_error(L, "no randomness outside a call");
    }
    if (lua_gettop(L) == 0) {
        lua_pushnumber(L, (lua_Number)(r >> 11) * 0x1p-53);
        return 1;
    }
    lua_Integer low = lua_gettop(L) == 1 ? 1 : luaL_checkinteger(L, 1);
    lua_Integer high = luaL_checkinteger(L, lua_gettop(L) == 1 ? 1 : 2);
    luaL_argcheck(L, low <= high, lua_gettop(L), "interval is empty");
    uint64_t range = (uint64_t)high - (uint64_t)low;
    if (range != UINT64_MAX) {
        uint64_t n = range + 1, limit = UINT64_MAX - UINT64_MAX % n;
        while (r >= limit) {
            (void)sb->random(L, &r);
        }
        r %= n;
    }
    lua_pushinteger(L, (lua_Integer)((uint64_t)low + r));
    return 1;
}

/* ---- Opening ----------------------------------------------------------------- */

/* Copies the named functions of the table at the top into the table below it, then
 * drops it. [-1, +0] */
static void copy_allowed(lua_State *L, const char *const *names)
{
    for (; *names != NULL; names++) {
        lua_getfield(L, -1, *names);
        lua_setfield(L, -3, *names);
    }
    lua_pop(L, 1);
}

static void open_base(lua_State *L)
{
    static const char *const allowed[] = { "assert", "error",    "getmetatable", "ipairs",
                                           "pcall",  "rawequal", "rawget",       "rawlen",
                                           "select", "tonumber", "type",         "_VERSION",
                                           NULL };
    static const luaL_Reg own[] = {
        { "next", sandbox_next },      { "pairs", sandbox_pairs },
        { "rawset", base_rawset },     { "setmetatable", base_setmetatable },
        { "tostring", base_tostring }, { NULL, NULL },
    };
    luaL_requiref(L, LUA_GNAME, luaopen_base, 0);
    copy_allowed(L, allowed);
    luaL_setfuncs(L, own, 0);
}

static void open_math(lua_State *L)
{
    static const char *const allowed[] = {
        "abs",  "acos", "asin", "atan", "ceil",       "cos",  "deg",        "exp",  "floor",
        "fmod", "huge", "log",  "max",  "maxinteger", "min",  "mininteger", "modf", "pi",
        "rad",  "sin",  "sqrt", "tan",  "tointeger",  "type", "ult",        NULL
    };
    lua_newtable(L);
    luaL_requiref(L, LUA_MATHLIBNAME, luaopen_math, 0);
    copy_allowed(L, allowed);
    lua_pushcfunction(L, sandbox_random);
    lua_setfield(L, -2, "random");
    sandbox_lock(L);
    lua_setfield(L, -2, "math");
}

static void open_utf8(lua_State *L)
{
    static const char *const allowed[] = { "char", "charpattern", "codepoint", "codes",
                                           "len",  "offset",      NULL };
    lua_newtable(L);
    luaL_requiref(L, LUA_UTF8LIBNAME, luaopen_utf8, 0);
    copy_allowed(L, allowed);
    sandbox_lock(L);
    lua_setfield(L, -2, "utf8");
}

/* X2: ("x"):rep must find our functions, and nobody may change where it looks. */
static void lock_strings(lua_State *L)
{
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    lua_pushvalue(L, -3); /* our string table, below the "" */
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
}

static int open_protected(lua_State *L)
{
    struct sandbox *sb = sandbox_of(L);
    lua_newtable(L); /* the globals to be */
    open_base(L);
    open_math(L);
    open_utf8(L);
    sandbox_string_lib(L);
    lock_strings(L);
    sandbox_lock(L);
    lua_setfield(L, -2, "string");
    sandbox_table_lib(L);
    sandbox_lock(L);
    lua_setfield(L, -2, "table");

    lua_newtable(L); /* metatable of every _ENV */
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, refuse_write);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    sb->env_meta = luaL_ref(L, LUA_REGISTRYINDEX);
    sb->globals = luaL_ref(L, LUA_REGISTRYINDEX);

    /* X1: the stock tables go. */
    lua_newtable(L);
    lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    lua_pushnil(L);
    lua_setfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    return 0;
}

/* The global nearest to that name, the first of the alphabet among equals; NULL: none is near. */
static const char *near_global(lua_State *L, int globals, const char *name)
{
    const char *best = NULL;
    unsigned least = TEXT_DISTANCE_MAX;
    lua_pushnil(L);
    while (lua_next(L, globals)) {
        lua_pop(L, 1);
        const char *candidate[] = { lua_tostring(L, -1),
                                    NULL }; /* the keys are names, all of them */
        if (text_nearest(span_of(name), candidate) == NULL) {
            continue;
        }
        unsigned d = text_distance(span_of(name), span_of(candidate[0]), TEXT_DISTANCE_MAX);
        if (d < least || (d == least && best != NULL && strcmp(candidate[0], best) < 0)) {
            least = d;
            best = candidate[0];
        }
    }
    return best;
}

/* [globals, key] */
static int refuse_global(lua_State *L)
{
    if (lua_type(L, 2) != LUA_TSTRING) {
        return luaL_error(L, "globals have names");
    }
    const char *name = lua_tostring(L, 2), *near = near_global(L, 1, name);
    if (near != NULL) {
        return luaL_error(L, "there is no global '%s'; did you mean '%s'?", name, near);
    }
    return luaL_error(L, "there is no global '%s'", name);
}

void sandbox_strict(lua_State *L)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, sandbox_of(L)->globals);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, refuse_global);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
}

static int panic(lua_State *L)
{
    const char *text = lua_tostring(L, -1);
    assert_failed(text != NULL ? text : "Lua error outside a protected call", __FILE__, __LINE__);
    return 0;
}

int sandbox_open(struct sandbox *sb, size_t memory_max, struct error *e)
{
    memset(sb, 0, sizeof(*sb));
    sb->memory_max = memory_max;
    sb->budget = UINT64_MAX;
    sb->quantum = SANDBOX_QUANTUM;
    sb->pool = sandbox_pool_new();
    sb->L = sb->pool != NULL ? lua_newstate(sandbox_alloc, sb) : NULL;
    if (sb->L == NULL) {
        sandbox_pool_free(sb->pool);
        sb->pool = NULL;
        return error_set(e, ERR_NOMEM, "no memory for a Lua state");
    }
    memcpy(lua_getextraspace(sb->L), &sb, sizeof(sb));
    lua_atpanic(sb->L, panic);
    lua_pushcfunction(sb->L, open_protected);
    if (lua_pcall(sb->L, 0, 0, 0) != LUA_OK) {
        (void)error_set(e, ERR_NOMEM, "cannot set up Lua: %s", lua_tostring(sb->L, -1));
        sandbox_close(sb);
        return ERR_NOMEM;
    }
    return 0;
}

void sandbox_close(struct sandbox *sb)
{
    if (sb->L != NULL) {
        lua_close(sb->L);
        sb->L = NULL;
    }
    sandbox_pool_free(sb->pool);
    sb->pool = NULL;
}

/* ---- Chunks -------------------------------------------------------------------- */

struct compile {
    struct span text;
    const char *name;
};

/* [(struct compile *), -, the function] */
static int compile_protected(lua_State *L)
{
    const struct compile *c = lua_touserdata(L, 1);
    struct sandbox *sb = sandbox_of(L);
    lua_pushfstring(L, "@%s", c->name);
    if (luaL_loadbufferx(L, c->text.data, c->text.len, lua_tostring(L, -1), "t") != LUA_OK) {
        return lua_error(L);
    }
    lua_newtable(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, sb->env_meta);
    lua_setmetatable(L, -2);
    lua_setupvalue(L, -2, 1); /* _ENV */
    return 1;
}

int sandbox_compile(lua_State *L, struct span text, const char *name, struct error *e)
{
    struct compile c = { text, name };
    lua_pushcfunction(L, compile_protected);
    lua_pushlightuserdata(L, &c);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        const char *why = lua_tostring(L, -1);
        (void)error_set(e, ERR_BADARG, "%s", why != NULL ? why : "cannot be compiled");
        if (strncmp(e->message, name, strlen(name)) != 0) {
            error_prefix(e, "%s", name); /* some errors of the compiler name no place */
        }
        lua_pop(L, 1);
        return ERR_BADARG;
    }
    return 0;
}

void sandbox_chunk_global(lua_State *L, int function, const char *name)
{
    if (lua_getupvalue(L, function, 1) == NULL) {
        lua_pop(L, 1); /* a chunk without globals needs none */
        return;
    }
    lua_insert(L, -2);
    lua_pushstring(L, name);
    lua_insert(L, -2);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

void sandbox_set_global(lua_State *L, const char *name)
{
    struct sandbox *sb = sandbox_of(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, sb->globals);
    lua_insert(L, -2);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}
