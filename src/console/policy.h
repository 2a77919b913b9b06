/* The programs of a policy's author: `usher policy test|check|deploy|...`.
 *
 * `test` and `check` need no cluster. `deploy` compiles the files, runs their specs and sends
 * them; `diff` and `rehearse` send them to the command `policy` of the cluster
 * (lua/commands/node/policy.lua); the other verbs go to it as they are. */
#ifndef USHER_CONSOLE_POLICY_H
#define USHER_CONSOLE_POLICY_H

#include <stdbool.h>
#include <stdio.h>

#include "base/buf.h"
#include "console/console.h"

/* argv: PATH [BUSTED-OPTION...]. Returns the exit status; a failed test may end the process. */
int policy_test_main(int argc, char **argv);

void policy_usage(FILE *out);
/* Whether `usher policy ARGV...` needs no cluster. */
bool policy_is_local(int argc, char **argv);
/* argv: VERB [ARG...]; with `o` NULL only what is local. */
int policy_main(const struct console_options *o, int argc, char **argv);

/* A console's line `policy deploy PATH` and the like: whether its files are here and it was
 * carried out, as this program run once more. *status is its exit status. */
bool policy_line(const struct console_options *o, struct span line, int *status);

#endif
