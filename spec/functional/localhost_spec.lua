--- A machine whose resolver does not know `localhost`: a chroot or a container without /etc/hosts.
local shim = require "spec.support.shim"
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"

describe("without anybody who knows localhost", function()
    local c
    setup(function()
        c = shim.new { start = false }
        for i = 1, 3 do
            c:faults(i, "resolve NONE localhost\n")
            c:start(i)
        end
    end)
    teardown(function() shim.close(c) end)

    it("three nodes of localhost found a cluster and serve the program", function()
        c:ready()
        local function usher(...)
            local env = c.env(1)
            env.USHER_ADDR = c:addresses()
            return process.run({ cluster.usher, ... }, { env = env, seconds = 30 })
        end
        local status, _, err = usher("add-event", "1", '[{"row":"A","seats":4}]')
        assert.equal(0, status, err)
        status, _, err = usher("book", "1", "ann", "A1")
        assert.equal(0, status, err)
        status, _, err = usher("bench", "--seconds", "1", "--requests", "200", "--clients", "2", "--json")
        assert.equal(0, status, err)
        assert.same({ A1 = "booked" }, c:must(3, "seats", "1", "--linearizable").taken)
    end)

    it("a name that means nothing is still an error", function()
        local config = c.dir .. "/nowhere.lua"
        cluster.write(config, 'return { default = { "no.such.invalid:7000" } }')
        local status, _, err = process.run({ cluster.usher, "node", "--id", "0", "--file", config, "--data",
            c.dir .. "/nowhere" }, { seconds = 30 })
        assert.equal(1, status)
        assert.truthy(err:find("cannot listen on no.such.invalid:7000", 1, true), err)
    end)
end)
