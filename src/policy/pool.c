/* The allocator under a sandbox.
 *
 * Lua allocates many small blocks and tells the size when it frees them, so small
 * ones come from free lists by size class, cut from chunks that live as long as the
 * state; larger ones from mem_alloc. A booking makes about 30 of them: malloc would
 * be a third of its time. Every byte counts against the cap, and every allocation
 * against the run's budget: otherwise a script could spend seconds in a few
 * instructions that concatenate long strings. How long the longest block is tells how soon the
 * budget's hook has to look again (sandbox.h).
 *
 * P1 memory_bytes equals the sum of the live blocks' sizes as Lua states them.
 * P2 shrinking never fails (Lua's requirement). */
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "policy/sandbox.h"

#define CLASS_BYTES   16
#define CLASSES       32 /* up to 512 bytes */
#define CHUNK_BYTES   (64 * 1024)
#define BYTES_PER_INS 32 /* allocated bytes that cost one instruction */
#define LONG_BYTES    (64 * 1024)
#define QUANTUM_MIN   16

struct chunk {
    struct chunk *next;
};

struct sandbox_pool {
    void *free[CLASSES + 1];
    struct chunk *chunks;
    char *at;
    size_t left; /* bytes at `at` */
};

struct sandbox_pool *sandbox_pool_new(void) { return mem_zalloc(sizeof(struct sandbox_pool)); }

void sandbox_pool_free(struct sandbox_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    while (pool->chunks != NULL) {
        struct chunk *next = pool->chunks->next;
        mem_free(pool->chunks);
        pool->chunks = next;
    }
    mem_free(pool);
}

static size_t class_of(size_t bytes) { return (bytes + CLASS_BYTES - 1) / CLASS_BYTES; }
static bool is_small(size_t bytes) { return bytes <= (size_t)CLASSES * CLASS_BYTES; }

static void *small_alloc(struct sandbox_pool *pool, size_t bytes)
{
    size_t class = class_of(bytes);
    void *block = pool->free[class];
    if (block != NULL) {
        memcpy(&pool->free[class], block, sizeof(void *));
        return block;
    }
    size_t need = class * CLASS_BYTES;
    if (pool->left < need) {
        struct chunk *chunk = mem_alloc(CHUNK_BYTES);
        if (chunk == NULL) {
            return NULL;
        }
        chunk->next = pool->chunks;
        pool->chunks = chunk;
        pool->at = (char *)chunk + CLASS_BYTES;
        pool->left = CHUNK_BYTES - CLASS_BYTES;
    }
    block = pool->at;
    pool->at += need;
    pool->left -= need;
    return block;
}

static void small_free(struct sandbox_pool *pool, void *block, size_t bytes)
{
    size_t class = class_of(bytes);
    memcpy(block, &pool->free[class], sizeof(void *));
    pool->free[class] = block;
}

static void *fresh(struct sandbox *sb, size_t bytes)
{
    return is_small(bytes) ? small_alloc(sb->pool, bytes) : mem_alloc(bytes);
}

static void drop(struct sandbox *sb, void *ptr, size_t bytes)
{
    if (is_small(bytes)) {
        small_free(sb->pool, ptr, bytes);
    } else {
        mem_free(ptr);
    }
}

/* P2, when there is no memory to move to: the block stays where it is. The rest of a small one
 * becomes a free block of its own; a large one becomes a chunk that this block is cut from. */
static void *shrink_in_place(struct sandbox *sb, void *ptr, size_t osize, size_t nsize)
{
    struct sandbox_pool *pool = sb->pool;
    size_t kept = class_of(nsize) * CLASS_BYTES;
    if (is_small(osize)) {
        small_free(pool, (char *)ptr + kept, class_of(osize) * CLASS_BYTES - kept);
        return ptr;
    }
    if (osize < CLASS_BYTES + kept) { /* no room for the chunk's head: a few bytes must be there */
        ptr = mem_must_realloc(ptr, CLASS_BYTES + kept);
    }
    struct chunk *chunk = ptr;
    void *block = memmove((char *)ptr + CLASS_BYTES, ptr, nsize);
    chunk->next = pool->chunks;
    pool->chunks = chunk;
    return block;
}

/* Moves a block to its new size when that changes its class. */
static void *resize(struct sandbox *sb, void *ptr, size_t osize, size_t nsize)
{
    if (is_small(osize) && is_small(nsize) && class_of(osize) == class_of(nsize)) {
        return ptr;
    }
    if (!is_small(osize) && !is_small(nsize)) {
        return mem_realloc(ptr, nsize);
    }
    void *block = fresh(sb, nsize);
    if (block == NULL && nsize < osize) {
        return shrink_in_place(sb, ptr, osize, nsize);
    }
    if (block != NULL) {
        memcpy(block, ptr, osize < nsize ? osize : nsize);
        drop(sb, ptr, osize);
    }
    return block;
}

/* ---- Long blocks ------------------------------------------------------------------ */

/* Between two looks some hundred instructions may each walk through the longest block: so many
 * that together they read 64 MiB at most, or QUANTUM_MIN of them. */
static int quantum_of(const struct sandbox *sb)
{
    int longest = SANDBOX_LONG_SIZES - 1;
    while (longest >= 0 && sb->long_blocks[longest] == 0) {
        longest--;
    }
    int quantum = SANDBOX_QUANTUM >> (longest + 1);
    return quantum > QUANTUM_MIN ? quantum : QUANTUM_MIN;
}

static void count_long(struct sandbox *sb, size_t bytes, bool gone)
{
    int size = -1;
    for (size_t n = bytes / LONG_BYTES; n > 0; n /= 2) {
        size++;
    }
    if (size >= 0) {
        sb->long_blocks[size] += gone ? UINT32_MAX : 1;
        sb->quantum = quantum_of(sb);
    }
}

/* All sizes and all refusals. */
static void *alloc_any(struct sandbox *sb, void *ptr, size_t osize, size_t nsize)
{
    if (nsize == 0) {
        if (ptr != NULL) {
            drop(sb, ptr, osize);
            sb->memory_bytes -= osize;
            count_long(sb, osize, true);
        }
        return NULL;
    }
    if (nsize > osize) {
        size_t more = nsize - osize;
        if (more > sb->memory_max || sb->memory_bytes > sb->memory_max - more ||
            nsize > SANDBOX_BLOCK_BYTES_MAX) {
            sb->no_memory = true;
            return NULL;
        }
        sb->spent += more / BYTES_PER_INS;
    }
    void *block = ptr == NULL ? fresh(sb, nsize) : resize(sb, ptr, osize, nsize);
    if (block != NULL) {
        sb->memory_bytes = sb->memory_bytes - osize + nsize;
        count_long(sb, osize, true);
        count_long(sb, nsize, false);
        sandbox_look_closer(sb);
    }
    return block;
}

/* The two usual cases stand here: a small block that a free list has, and its end. */
void *sandbox_alloc(void *arg, void *ptr, size_t osize, size_t nsize)
{
    struct sandbox *sb = arg;
    if (ptr == NULL) {
        /* Lua passes the kind of object in osize; nsize 0 is class 0, whose list is empty */
        void *block = is_small(nsize) ? sb->pool->free[class_of(nsize)] : NULL;
        if (block == NULL || sb->memory_bytes + nsize > sb->memory_max) {
            return alloc_any(sb, NULL, 0, nsize);
        }
        memcpy(&sb->pool->free[class_of(nsize)], block, sizeof(void *));
        sb->memory_bytes += nsize;
        sb->spent += nsize / BYTES_PER_INS;
        return block;
    }
    if (nsize == 0 && is_small(osize)) {
        small_free(sb->pool, ptr, osize);
        sb->memory_bytes -= osize;
        return NULL;
    }
    return alloc_any(sb, ptr, osize, nsize);
}
