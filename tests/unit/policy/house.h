/* The house that tests of the policy VM play in, and a policy around one command's body. */
#ifndef USHER_TESTS_UNIT_POLICY_HOUSE_H
#define USHER_TESTS_UNIT_POLICY_HOUSE_H

#include "lib/play.h"

/* A policy with one command `t`, whose body is given; EXTRA goes into policy{...}. */
#define DO(extra, body)                                                                            \
    "policy local kept return policy { name = 'p', " extra " commands = { command { name = 't', "  \
    "kind = 'transaction', group = 'g', summary = 's', example = 't', args = { { 'event', "        \
    "'event' }, { 'seats', 'seat', many = true, optional = true } }, options = { { 'code', "       \
    "'string', many = true }, { 'mode', 'string' } }, run = function(tx, req) " body " end } } }"
#define HOUSE                                                                                      \
    {                                                                                              \
        "add-event 1 "                                                                             \
        "{'rows':[{'name':'A','section':'s','seats':4,'category':'gold','aisles':[2]},"            \
        "{'name':'B','section':'t','seats':3}],'areas':[{'name':'FLOOR','capacity':20}]} "         \
        "--attributes {'zone':'Europe/Helsinki','n':1} --currency EUR",                            \
            "{}"                                                                                   \
    }

#endif
