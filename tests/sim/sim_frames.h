/* A tap on every link of the simulated nodes: messages are lost, replayed and delayed past
 * later ones, and nodes crash before or after a message is sent or received. */
#ifndef USHER_TESTS_SIM_SIM_FRAMES_H
#define USHER_TESTS_SIM_SIM_FRAMES_H

#include "env_sim.h"

/* Kinds of messages: 0 service, 1..6 raft's (enum raft_message_type), 7.. the cluster's. */
#define FRAME_OF_RAFT(type) ((unsigned)(type))
#define FRAME_OF(wire)      (6u + (unsigned)(wire))

/* Of the messages, as the crash points' names have it: "raft append"; NULL: no such kind. */
const char *frames_message_name(unsigned message);
/* Name of any crash point; NULL when nothing has it. */
const char *frames_point_name(unsigned point, char out[64]);
/* Forgets the taps of this world; before sim_free(). */
void frames_free(void);

#endif
