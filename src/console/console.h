/* The programs of a client: one-shot command, script run, console, demo.
 *
 * Each takes its own arguments (argv after the program's options have been found) and
 * returns the exit status: 0 done, 1 refused or failed, 2 usage. */
#ifndef USHER_CONSOLE_CONSOLE_H
#define USHER_CONSOLE_CONSOLE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define EXIT_DONE    0
#define EXIT_REFUSED 1
#define EXIT_USAGE   2

struct console_options {
    const char *const *addresses;      /* NULL-ended */
    const char *profile;               /* for the prompt */
    const char *user, *password;       /* NULL: none */
    const char *format;                /* -w, NULL: table */
    const char *const *commands;       /* console -c, NULL-ended, NULL: read standard input */
    const volatile sig_atomic_t *stop; /* becomes non-zero when the node ends; may be NULL */
    bool in_node;                      /* the console of `usher node`: Ctrl-D leaves it only */
};

/* `usher COMMAND ARG...` */
int oneshot_main(const struct console_options *o, int argc, char **argv);
/* `usher run SCRIPT ARG...`; SCRIPT `-` is standard input. */
int run_main(const struct console_options *o, int argc, char **argv);
/* `usher console`: interactive on a terminal, else every line of standard input. */
int console_main(const struct console_options *o);
/* `usher demo`: three nodes of this program on localhost, a cinema, a console. */
int demo_main(const char *program, int argc, char **argv);
/* `usher check DATADIR`: what a stopped node's files hold. 0 fine, 1 damaged or in use. */
int check_main(const char *format, int argc, char **argv);
/* `usher bench ARG...`: load generator. */
int bench_main(const struct console_options *o, int argc, char **argv);
void bench_usage(FILE *out);

#endif
