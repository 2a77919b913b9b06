-- Real processes that run out of file descriptors, as a single client can make them.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"
local resp = require "spec.support.resp"

describe("a node with few file descriptors", function()
    local c
    setup(function()
        c = cluster.new { n = 1, files = 64 }
        c:must(1, "add-chart", "hall", '[{"row":"A","seats":40}]')
        c:must(1, "add-event", "1", "hall")
    end)
    teardown(function() c:close() end)

    it("refuses connections while there are few, and needs none for its log and snapshots", function()
        local first = assert(c:connect(1))
        assert.equal("PONG", first:call("PING"))
        local crowd, refused = {}, nil
        for i = 1, 120 do
            local client = resp.connect(c.nodes[1].port, 5)
            local reply, why
            if client then reply, why = client:call("PING") end
            if not reply then refused = refused or why end
            crowd[i] = client
        end
        assert.matches("^BUSY this node has few file descriptors left", refused)
        for i = 1, 20 do
            assert(first:call("book", "1", "ann", "A" .. i))
            assert(first:call("snapshot"))
        end
        assert.is_true(c:running(1))
        assert.equal(1, select(2, c.nodes[1].process:output():gsub("few file descriptors", "")))
        for _, client in pairs(crowd) do client:close() end
        process.wait_for("others are served again", 10, function() return c:call(1, "PING") end)
        assert(first:call("book", "1", "ann", "A30"))
        first:close()
    end)

    it("lets go of connections that say nothing before those that do", function()
        local crowd = {}
        for i = 1, 120 do crowd[i] = resp.connect(c.nodes[1].port, 5) end
        assert.equal("PONG", c:call(1, "PING"))
        for _, client in pairs(crowd) do client:close() end
    end)
end)
