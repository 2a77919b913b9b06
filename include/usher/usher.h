/* Usher inside another program: a node of a cluster, its hooks as C callbacks, its commands as
 * function calls.
 *
 *     char why[USHER_ERROR_BYTES];
 *     struct usher_options o = { .profile = "default", .id = 0 };
 *     struct usher_node *node = usher_new(&o, why, sizeof why);
 *     usher_on(node, "commit", on_commit, NULL);
 *     if (node == NULL || usher_start(node, why, sizeof why) != 0) { puts(why); ... }
 *     const char *book[] = { "book", "1", "ann", "A1" };
 *     usher_call(node, 4, book, on_answer, NULL);
 *     ...
 *     usher_stop(node);
 *
 * A program has any number of nodes. Texts are UTF-8; JSON is what docs/lua.md 4 (hooks) and
 * docs/design.md 4.3 (answers) describe. Nothing here needs an initialisation.
 *
 * Threads. With USHER_THREAD (the default) the node runs on a thread of its own, and all
 * callbacks run on that thread: keep them short, and hand long work on. usher_call and
 * usher_stop may be used from every thread, from callbacks usher_call only. With USHER_CALLER the
 * node has no thread: the program calls usher_turn() whenever usher_fd() is readable or
 * usher_timeout_ms() has passed, and callbacks run inside of it; such a program ignores
 * SIGPIPE. */
#ifndef USHER_USHER_H
#define USHER_USHER_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Room for any "CODE message; hint". */
#define USHER_ERROR_BYTES 768

struct usher_node;

enum usher_mode { USHER_THREAD = 0, USHER_CALLER = 1 };

/* Zero what is not needed. Texts are copied. */
struct usher_options {
    const char *file;    /* config.lua; NULL: ./config.lua, then the installed one */
    const char *profile; /* NULL: "default" */
    const char *data;    /* data directory; NULL: as `usher node` chooses it */
    int id;              /* place of this node's address in the profile's list, from 0 */
    int found;           /* 1: a majority of the list is enough to found, as --found */
    enum usher_mode mode;
};

/* "0.1.0" */
const char *usher_version(void);

/* Reads the configuration; nothing is opened yet. NULL: `error` says why. */
struct usher_node *usher_new(const struct usher_options *options, char *error, size_t error_size);

/* A hook: commit, leader, member, start, stop, snapshot, restore or policy. `json` is its
 * payload, `size` bytes and a NUL; valid during the call. A commit is told once; what was
 * committed before the node started is not told again, so a program that must see everything
 * keeps the last index it has seen and reads the state at its start. */
typedef void (*usher_hook)(void *arg, const char *hook, const char *json, size_t size);
/* Before usher_start. 0, or -1: no such hook. Any number per hook, called in order. */
int usher_on(struct usher_node *node, const char *hook, usher_hook callback, void *arg);

/* Binds the address, opens the data directory, restores the state (blocking), and runs. 0, or
 * -1 with `error` filled; the node is then freed. It serves clients and peers like any other. */
int usher_start(struct usher_node *node, char *error, size_t error_size);

/* One answer. ok 1: `text` is JSON; ok 0: `text` is "CODE message; hint". NUL-terminated, valid
 * during the call. */
typedef void (*usher_answer)(void *arg, int ok, const char *text, size_t size);
/* Any command (`usher help`), word by word, with the rights of an admin, on whatever node leads;
 * the callback comes exactly once, never from inside, at the latest when the node stops. A word
 * pair "--request", ID makes it safe to call again after UNKNOWN. A read called after an answer
 * shows what that answer told. 0, or -1: the node is not running; then no callback comes. */
int usher_call(struct usher_node *node, size_t count, const char *const *words,
               usher_answer callback, void *arg);

/* USHER_CALLER only: readable when there is work; milliseconds until there is (-1: only then). */
int usher_fd(struct usher_node *node);
int usher_timeout_ms(struct usher_node *node);
/* Does what can be done without waiting. 1: go on; 0: the node has ended (usher_stop frees it). */
int usher_turn(struct usher_node *node);

/* Whether it runs: 0 also when it ended by itself (disk error, ...), see usher_error(). */
int usher_running(struct usher_node *node);
/* Why it ended by itself, once it does not run; "" if it did not. Valid until usher_stop. */
const char *usher_error(struct usher_node *node);

/* Hands leadership over, answers what was begun, closes, frees: within about 5 s. Blocks. Not
 * from a callback. NULL and a node never started are allowed. */
void usher_stop(struct usher_node *node);

#ifdef __cplusplus
}
#endif

#endif
