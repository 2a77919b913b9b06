/* A program with a node inside: it prints what is sold as it is sold, and runs the commands that
 * it reads, one a line. The example of docs/embed.md; a spec drives it.
 *
 *     usher-embed-example CONFIG.lua [PROFILE [ID]] [--caller]
 *
 * With --caller the node has no thread of its own: the program's loop, here poll(), drives it.
 * Ends at the end of its input. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <usher/usher.h>

#define WORDS_MAX 64

/* Answers come on the node's thread; the reader of the input waits for them here. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t answered = PTHREAD_COND_INITIALIZER;
static unsigned waiting;

static void on_hook(void *arg, const char *hook, const char *json, size_t size)
{
    (void)arg, (void)size;
    printf("%s %s\n", hook, json);
    fflush(stdout);
}

static void on_answer(void *arg, int ok, const char *text, size_t size)
{
    (void)arg, (void)size;
    printf("%s %s\n", ok ? "answer" : "error", text);
    fflush(stdout);
    pthread_mutex_lock(&lock);
    waiting--;
    pthread_cond_signal(&answered);
    pthread_mutex_unlock(&lock);
}

/* Splits at blanks and calls. */
static void call(struct usher_node *node, char *line)
{
    const char *words[WORDS_MAX];
    size_t count = 0;
    for (char *word = strtok(line, " \t\n"); word != NULL && count < WORDS_MAX;
         word = strtok(NULL, " \t\n")) {
        words[count++] = word;
    }
    if (count == 0) {
        return;
    }
    pthread_mutex_lock(&lock);
    waiting++;
    pthread_mutex_unlock(&lock);
    if (usher_call(node, count, words, on_answer, NULL) != 0) {
        on_answer(NULL, 0, "the node is not running", 0);
    }
}

/* The node has its own thread: this one reads and waits. */
static void run_beside(struct usher_node *node)
{
    char line[4096];
    while (usher_running(node) && fgets(line, sizeof line, stdin) != NULL) {
        call(node, line);
        pthread_mutex_lock(&lock);
        while (waiting > 0) {
            pthread_cond_wait(&answered, &lock);
        }
        pthread_mutex_unlock(&lock);
    }
}

/* One loop for both: the node's descriptor and the input. */
static void run_inside(struct usher_node *node)
{
    int open = 1;
    while (usher_turn(node) && (open || waiting > 0)) {
        struct pollfd fds[2] = { { usher_fd(node), POLLIN, 0 }, { STDIN_FILENO, POLLIN, 0 } };
        int listen = open && waiting == 0;
        poll(fds, listen ? 2 : 1, usher_timeout_ms(node));
        char line[4096];
        if (listen && fds[1].revents != 0) {
            /* A line at a time: what stdio has read ahead poll() would not see. */
            size_t n = 0;
            ssize_t got = 0;
            while (n + 1 < sizeof line && (got = read(STDIN_FILENO, line + n, 1)) == 1 &&
                   line[n] != '\n') {
                n++;
            }
            open = got == 1;
            line[n] = 0;
            call(node, line);
        }
    }
}

int main(int argc, char **argv)
{
    static const char *const hooks[] = { "commit", "leader",   "member",  "start",
                                         "stop",   "snapshot", "restore", "policy" };
    char why[USHER_ERROR_BYTES];
    int caller = argc > 2 && strcmp(argv[argc - 1], "--caller") == 0;
    argc -= caller;
    if (argc < 2) {
        fprintf(stderr, "usage: usher-embed-example CONFIG.lua [PROFILE [ID]] [--caller]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    struct usher_options options = { .file = argv[1],
                                     .profile = argc > 2 ? argv[2] : NULL,
                                     .id = argc > 3 ? atoi(argv[3]) : 0,
                                     .mode = caller ? USHER_CALLER : USHER_THREAD };
    struct usher_node *node = usher_new(&options, why, sizeof why);
    for (size_t i = 0; node != NULL && i < sizeof hooks / sizeof hooks[0]; i++) {
        usher_on(node, hooks[i], on_hook, NULL);
    }
    if (node == NULL || usher_start(node, why, sizeof why) != 0) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    printf("running usher %s\n", usher_version());
    fflush(stdout);
    if (caller) {
        run_inside(node);
    } else {
        run_beside(node);
    }
    int failed = usher_error(node)[0] != 0;
    if (failed) {
        fprintf(stderr, "%s\n", usher_error(node));
    }
    usher_stop(node);
    printf("stopped\n");
    return failed;
}
