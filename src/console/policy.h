/* The programs of a policy's author: `usher policy test|check|deploy|...`.
 *
 * `test` needs no cluster. `check`, `diff`, `deploy` and `rehearse` read a policy's files here
 * and hand them to the command `policy` of the cluster (lua/commands/node/policy.lua); the
 * other verbs go to it as they are. */
#ifndef USHER_CONSOLE_POLICY_H
#define USHER_CONSOLE_POLICY_H

#include "console/console.h"

/* argv: PATH [BUSTED-OPTION...]. Returns the exit status; a failed test may end the process. */
int policy_test_main(int argc, char **argv);

#endif
