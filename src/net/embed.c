/* The public C API (include/usher/usher.h) over a whole node (net/node.h).
 *
 *   usher_new -> usher_on ... -> usher_start: node_start(), then a thread in node_run(), or the
 *   caller's turns -> usher_call: into a queue, a wake-up, service_submit() on the loop -> answer
 *   -> usher_stop: the same orderly stop as SIGTERM, then everything is freed
 *
 *   states: NEW -> RUNNING -> ENDING (takes no calls) -> ENDED; usher_stop frees in each
 *
 * How it fails: calls that the queue holds when the node ends get NOTREADY; requests under way
 * get what the service says to everybody at a stop (UNKNOWN or NOTREADY).
 *
 * Invariants
 *   E1 what is behind the lock is touched by any thread, everything else by the loop's only
 *   E2 a call that was accepted is answered exactly once
 *   E3 the wake-up is sent under the lock while the node runs, so never after its handle went */
#include "usher/usher.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/node.h"

static const char *const hooks[] = { "commit",   "leader",  "member", "start", "stop",
                                     "snapshot", "restore", "policy", NULL };

struct listener_of {
    struct listener_of *next;
    const char *hook; /* of hooks[] */
    usher_hook callback;
    void *arg;
};

struct waiting_call {
    struct waiting_call *next;
    struct usher_node *node;
    struct request request;
    struct span *argv;
    char *bytes;
    usher_answer callback;
    void *arg;
};

enum life { LIFE_NEW, LIFE_RUNNING, LIFE_ENDING, LIFE_ENDED };

struct usher_node {
    struct config config;
    struct node_options options;
    struct script_tap tap;
    char dir[4096];
    enum usher_mode mode;
    struct listener_of *listeners;
    struct node *node;
    uint64_t seen_index; /* request.h: a handle is a session */
    uv_async_t wake;
    pthread_t thread;
    pthread_mutex_t lock;
    /* Behind the lock (E1). */
    enum life life;
    bool stop;
    struct waiting_call *first, *last;
    char error[USHER_ERROR_BYTES];
};

const char *usher_version(void) { return USHER_VERSION; }

static void lock(struct usher_node *u) { (void)pthread_mutex_lock(&u->lock); }
static void unlock(struct usher_node *u) { (void)pthread_mutex_unlock(&u->lock); }

static void say(const struct error *e, char *out, size_t size)
{
    if (out != NULL && size > 0) {
        (void)error_format(e, out, size);
    }
}

/* ---- Hooks ------------------------------------------------------------------------------- */

static bool tap_wants(void *arg, const char *hook)
{
    const struct usher_node *u = arg;
    for (const struct listener_of *l = u->listeners; l != NULL; l = l->next) {
        if (strcmp(l->hook, hook) == 0) {
            return true;
        }
    }
    return false;
}

static void tap_event(void *arg, const char *hook, struct span json)
{
    struct usher_node *u = arg;
    char *text = mem_strndup(json.data, json.len); /* with its NUL */
    for (const struct listener_of *l = u->listeners; l != NULL && text != NULL; l = l->next) {
        if (strcmp(l->hook, hook) == 0) {
            l->callback(l->arg, hook, text, json.len);
        }
    }
    mem_free(text);
}

int usher_on(struct usher_node *u, const char *hook, usher_hook callback, void *arg)
{
    const char *const *name = hooks;
    while (*name != NULL && strcmp(*name, hook) != 0) {
        name++;
    }
    if (u == NULL || *name == NULL || u->life != LIFE_NEW) {
        return -1;
    }
    struct listener_of *l = mem_must_alloc(sizeof *l), **at = &u->listeners;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    *l = (struct listener_of){ NULL, *name, callback, arg };
    *at = l;
    return 0;
}

/* ---- Calls -------------------------------------------------------------------------------- */

static void waiting_free(struct waiting_call *w)
{
    mem_free(w->argv);
    mem_free(w->bytes);
    mem_free(w);
}

static void answer(struct waiting_call *w, int code, const struct error *e, struct span json)
{
    char line[USHER_ERROR_BYTES];
    if (code == 0) {
        char *text = mem_strndup(json.data, json.len);
        w->callback(w->arg, 1, text != NULL ? text : "", text != NULL ? json.len : 0);
        mem_free(text);
    } else {
        size_t len = error_format(e, line, sizeof line);
        w->callback(w->arg, 0, line, len);
    }
    waiting_free(w);
}

static void on_answer(struct request *r, int code, const struct error *e, struct span fields,
                      struct span json)
{
    (void)fields;
    answer(r->arg, code, e, json);
}

static struct waiting_call *take_calls(struct usher_node *u)
{
    lock(u);
    struct waiting_call *list = u->first;
    u->first = u->last = NULL;
    unlock(u);
    return list;
}

static void on_wake(uv_async_t *handle)
{
    struct usher_node *u = handle->data;
    for (struct waiting_call *w = take_calls(u), *next; w != NULL; w = next) {
        next = w->next;
        service_submit(node_service(u->node), &w->request);
    }
    lock(u);
    bool stop = u->stop;
    unlock(u);
    if (stop) {
        node_stop(u->node);
    }
}

static struct waiting_call *call_new(struct usher_node *u, size_t count, const char *const *words)
{
    struct waiting_call *w = mem_zalloc(sizeof *w);
    size_t bytes = 1;
    for (size_t i = 0; i < count; i++) {
        bytes += strlen(words[i]);
    }
    if (w == NULL || (w->argv = mem_zalloc((count + 1) * sizeof *w->argv)) == NULL ||
        (w->bytes = mem_zalloc(bytes)) == NULL) {
        if (w != NULL) {
            waiting_free(w);
        }
        return NULL;
    }
    char *at = w->bytes;
    for (size_t i = 0; i < count; i++) {
        w->argv[i] = span_make(at, strlen(words[i]));
        memcpy(at, words[i], w->argv[i].len);
        at += w->argv[i].len;
    }
    w->node = u;
    w->request = (struct request){ .argv = w->argv,
                                   .argc = count,
                                   .seen_index = &u->seen_index,
                                   .user = { .name = span_make("", 0), .access = ACCESS_ADMIN },
                                   .cb = on_answer,
                                   .arg = w };
    return w;
}

int usher_call(struct usher_node *u, size_t count, const char *const *words, usher_answer callback,
               void *arg)
{
    struct waiting_call *w = u != NULL && count > 0 ? call_new(u, count, words) : NULL;
    if (w == NULL) {
        return -1;
    }
    w->callback = callback;
    w->arg = arg;
    lock(u);
    bool runs = u->life == LIFE_RUNNING && !u->stop;
    if (runs) {
        *(u->last != NULL ? &u->last->next : &u->first) = w;
        u->last = w;
        (void)uv_async_send(&u->wake); /* E3 */
    }
    unlock(u);
    if (!runs) {
        waiting_free(w);
    }
    return runs ? 0 : -1;
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void usher_free(struct usher_node *u)
{
    while (u->listeners != NULL) {
        struct listener_of *l = u->listeners;
        u->listeners = l->next;
        mem_free(l);
    }
    config_free(&u->config);
    (void)pthread_mutex_destroy(&u->lock);
    mem_free(u);
}

static bool choose_dir(struct usher_node *u, const char *data, const char *address)
{
    int n = data != NULL ? snprintf(u->dir, sizeof u->dir, "%s", data)
                         : snprintf(u->dir, sizeof u->dir, "%s/%s/%s",
                                    u->config.data != NULL ? u->config.data : "data",
                                    u->config.profile, address);
    return n >= 0 && (size_t)n < sizeof u->dir;
}

struct usher_node *usher_new(const struct usher_options *o, char *error, size_t error_size)
{
    struct error e = { 0 };
    struct usher_node *u = mem_zalloc(sizeof *u);
    if (u == NULL) {
        (void)error_set(&e, ERR_NOMEM, "out of memory");
        say(&e, error, error_size);
        return NULL;
    }
    if (config_load(o->file, o->profile, &u->config, &e) != 0) {
        mem_free(u);
        say(&e, error, error_size);
        return NULL;
    }
    (void)pthread_mutex_init(&u->lock, NULL);
    if (o->id < 0 || (size_t)o->id >= u->config.nodes_count) {
        (void)error_set(&e, ERR_BADARG, "id %d: profile %s in %s has %zu nodes", o->id,
                        u->config.profile, u->config.file, u->config.nodes_count);
        error_hint(&e, "give a number from 0 to %zu", u->config.nodes_count - 1);
    } else if (!choose_dir(u, o->data, u->config.nodes[o->id])) {
        (void)error_set(&e, ERR_BADARG, "the data directory's path is too long");
    }
    if (e.code != 0) {
        usher_free(u);
        say(&e, error, error_size);
        return NULL;
    }
    u->mode = o->mode;
    u->tap = (struct script_tap){ tap_wants, tap_event, u };
    u->options = (struct node_options){ .config = &u->config,
                                        .address = u->config.nodes[o->id],
                                        .dir = u->dir,
                                        .version = USHER_VERSION,
                                        .found = o->found != 0,
                                        .embedded = true,
                                        .tap = &u->tap };
    return u;
}

/* The node is about to be freed: nothing more is accepted, what waits is answered. */
static void close_calls(struct usher_node *u)
{
    lock(u);
    u->life = LIFE_ENDING;
    unlock(u);
    for (struct waiting_call *w = take_calls(u), *next; w != NULL; w = next) {
        struct error e;
        next = w->next;
        (void)error_set(&e, ERR_NOTREADY, "this node is stopping; nothing was done");
        error_hint(&e, "ask another node");
        answer(w, e.code, &e, span_make("", 0));
    }
}

static void end(struct usher_node *u)
{
    struct error e = { 0 };
    close_calls(u);
    int code = node_finish(u->node, &e);
    u->node = NULL;
    lock(u);
    if (code != 0) {
        say(&e, u->error, sizeof u->error);
    }
    u->life = LIFE_ENDED;
    unlock(u);
}

static void *run(void *arg)
{
    struct usher_node *u = arg;
    while (!node_ended(u->node)) {
        (void)uv_run(node_loop(u->node), UV_RUN_DEFAULT);
    }
    end(u);
    return NULL;
}

/* The node's thread takes no signals: they are the program's. */
static int start_thread(struct usher_node *u)
{
    sigset_t all, old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&u->thread, NULL, run, u);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

int usher_start(struct usher_node *u, char *error, size_t error_size)
{
    struct error e = { 0 };
    if (u->life != LIFE_NEW) {
        (void)error_set(&e, ERR_BADARG, "this node was started before");
        say(&e, error, error_size);
        return -1;
    }
    if (node_start(&u->options, &u->node, &e) != 0) {
        usher_free(u);
        say(&e, error, error_size);
        return -1;
    }
    (void)uv_async_init(node_loop(u->node), &u->wake, on_wake);
    u->wake.data = u;
    u->life = LIFE_RUNNING;
    if (u->mode == USHER_THREAD && start_thread(u) != 0) {
        (void)error_set(&e, ERR_INTERNAL, "no thread can be made");
        u->mode = USHER_CALLER;
        usher_stop(u);
        say(&e, error, error_size);
        return -1;
    }
    return 0;
}

int usher_fd(struct usher_node *u)
{
    return u->node != NULL && u->mode == USHER_CALLER ? uv_backend_fd(node_loop(u->node)) : -1;
}

int usher_timeout_ms(struct usher_node *u)
{
    return u->node != NULL && u->mode == USHER_CALLER ? uv_backend_timeout(node_loop(u->node)) : 0;
}

int usher_turn(struct usher_node *u)
{
    if (u->mode != USHER_CALLER || u->node == NULL) {
        return 0;
    }
    (void)uv_run(node_loop(u->node), UV_RUN_NOWAIT);
    if (node_ended(u->node)) {
        end(u);
        return 0;
    }
    return 1;
}

int usher_running(struct usher_node *u)
{
    lock(u);
    int runs = u->life == LIFE_RUNNING || u->life == LIFE_ENDING;
    unlock(u);
    return runs;
}

const char *usher_error(struct usher_node *u) { return u->error; }

void usher_stop(struct usher_node *u)
{
    if (u == NULL) {
        return;
    }
    lock(u);
    bool started = u->life != LIFE_NEW;
    u->stop = true;
    if (u->life == LIFE_RUNNING) {
        (void)uv_async_send(&u->wake);
    }
    unlock(u);
    if (started && u->mode == USHER_THREAD) {
        (void)pthread_join(u->thread, NULL);
    }
    while (u->mode == USHER_CALLER && u->node != NULL) {
        (void)uv_run(node_loop(u->node), UV_RUN_ONCE);
        if (node_ended(u->node)) {
            end(u);
        }
    }
    usher_free(u);
}
