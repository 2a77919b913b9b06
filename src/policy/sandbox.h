/* The sandbox: a Lua 5.4 state in which a script can compute and nothing else.
 *
 * Globals are an allow-list built from scratch; what the C library of Lua would do
 * without a bound (patterns, string.rep, table.move ...) is replaced by versions
 * that charge the script's budget; memory is capped by the allocator. Used by the
 * policy VM and by the node's script VM. engine.md's table of escapes is the checklist;
 * tests/unit/policy/test_sandbox.c has one test for each row.
 *
 * Budget recipe: code runs in a host coroutine under a count hook. Over budget, the
 * hook yields and the host never resumes that coroutine (nor resets it: that would
 * run its __close handlers); where it cannot yield (inside a sort or gsub callback)
 * it raises, and re-arms at every instruction until it can.
 *
 * One instruction may walk through a whole string (a comparison, its conversion to a number,
 * utf8.len), and no hook is called meanwhile: the longer the longest block of memory in use,
 * the fewer instructions lie between two looks at the clock. */
#ifndef USHER_POLICY_SANDBOX_H
#define USHER_POLICY_SANDBOX_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

struct sandbox_pool;

#define SANDBOX_QUANTUM     1000 /* instructions between two looks at the budget, at most */
#define SANDBOX_WHERE_BYTES (LUA_IDSIZE + 16) /* of "FILE:LINE" */
#define SANDBOX_LONG_SIZES  11 /* of blocks from 64 KiB to SANDBOX_BLOCK_BYTES_MAX, by doubling */

struct sandbox {
    lua_State *L; /* main thread: loads code, never runs a script without a budget */
    size_t memory_bytes, memory_max;
    struct sandbox_pool *pool;
    uint64_t spent, budget; /* instructions, of the current run */
    uint64_t cpu_start_ns;  /* 0: not asked for yet */
    uint64_t cpu_now_ns;    /* at the last look at the budget */
    uint64_t cpu_ms_max;    /* of one run; 0: SANDBOX_CPU_MS_MAX */
    uint64_t looked;        /* `spent` at the last look */
    uint64_t looked_ns;     /* the wall clock then */
    lua_State *running;     /* the coroutine whose hook is armed, or NULL */
    int quantum;            /* instructions between two looks, as the blocks in use want it */
    int quantum_armed;      /* as the hook has it: it takes up a longer one when it is called */
    uint64_t slice;         /* instructions after which a run yields to be resumed; 0: none */
    uint64_t slice_ns;      /* ... or this much CPU time */
    bool sliced;            /* the last yield was the end of a slice */
    bool over;              /* the current run went over its budget */
    bool no_memory;         /* the cap was hit in the current run */
    char where[SANDBOX_WHERE_BYTES]; /* "policy.lua:12" of the overrun */
    char full[SANDBOX_WHERE_BYTES];  /* the same of the last look with much memory in use, or "" */
    int (*random)(lua_State *L, uint64_t *out); /* math.random's source; raises, or 0 */
    uint32_t long_blocks[SANDBOX_LONG_SIZES];   /* how many there are */
    int globals;  /* registry reference of the real table of globals */
    int env_meta; /* registry reference: metatable of every chunk's _ENV */
};

/* Makes the state and its globals. ERR_NOMEM on failure. */
int sandbox_open(struct sandbox *sb, size_t memory_max, struct error *e);
void sandbox_close(struct sandbox *sb);
/* The sandbox of any thread of its state. */
struct sandbox *sandbox_of(lua_State *L);
bool sandbox_guards(lua_State *L); /* false: a plain Lua state, which has none */

/* Starts the accounting of one run and arms the hook on its coroutine. With sb->slice
 * set, the coroutine also yields (sb->sliced) after that many instructions, as soon as it
 * can, and may be resumed after another sandbox_arm: node scripts run so. */
void sandbox_arm(struct sandbox *sb, lua_State *co, uint64_t budget);
void sandbox_disarm(lua_State *co);
/* FILE:LINE of the innermost Lua function that runs, "" when there is none. Never raises. */
void sandbox_where(lua_State *L, char where[SANDBOX_WHERE_BYTES]);
/* For the allocator, at any moment: there is a block now that asks for closer looks. */
void sandbox_look_closer(struct sandbox *sb);
/* MAY_RAISE: accounts for `n` instructions' worth of work done in C. */
void sandbox_charge(lua_State *L, uint64_t n);
/* How much of the run's budget is used, in percent: of its instructions or of its time, whichever
 * is more. */
unsigned sandbox_used(const struct sandbox *sb);
/* lua_pcall(L, args, LUA_MULTRET, 0) that also ends, with an error, when `percent` of the whole
 * run's budget are used: what comes behind it has the rest. */
int sandbox_pcall(lua_State *L, int args, unsigned percent);

/* Compiles a text chunk with a read-only _ENV of its own. [-0, +1] on 0: the function;
 * else ERR_BADARG with "file:line: ..." and nothing pushed. Never raises. */
int sandbox_compile(lua_State *L, struct span text, const char *name, struct error *e);
/* MAY_RAISE. Gives the chunk at `function` a global of its own: pops the value on top. */
void sandbox_chunk_global(lua_State *L, int function, const char *name);
/* MAY_RAISE. From here on reading a global that nobody has set raises, with its name. */
void sandbox_strict(lua_State *L);
/* MAY_RAISE. Pops a value and makes it the global `name`. [-1, +0] */
void sandbox_set_global(lua_State *L, const char *name);
/* MAY_RAISE. Replaces the table on top by a read-only view of it. [-1, +1] */
void sandbox_lock(lua_State *L);
/* True for such a view (and for a chunk's _ENV); leaves the stack alone. */
bool sandbox_is_locked(lua_State *L, int index);
/* MAY_RAISE. Text of any value without addresses. [-0, +1] */
const char *sandbox_tostring(lua_State *L, int index, size_t *len);

/* The replaced libraries (lib_string.c, lib_table.c). [-0, +1] each: the table. */
void sandbox_string_lib(lua_State *L);
void sandbox_table_lib(lua_State *L);
int sandbox_random(lua_State *L); /* math.random */
int sandbox_sort(lua_State *L);   /* table.sort */
/* Of the two values on top: is the lower one less? [-0, +0] MAY_RAISE */
typedef bool (*sandbox_less)(lua_State *L);
/* Sorts the list 1..n on top, stably; with `charge` each pass costs n instructions.
 * [-1, +1] MAY_RAISE */
void sandbox_merge_sort(lua_State *L, lua_Integer n, sandbox_less less, bool charge);
int sandbox_pairs(lua_State *L);
int sandbox_next(lua_State *L);

/* The Lua allocator: pools of small blocks below `memory_max` (pool.c). */
struct sandbox_pool *sandbox_pool_new(void);
void sandbox_pool_free(struct sandbox_pool *pool);
void *sandbox_alloc(void *sandbox, void *ptr, size_t osize, size_t nsize);

#endif
