-- What the specs themselves stand on.
local cluster = require "spec.support.cluster"

describe("spec.support.cluster", function()
    it("gives no port twice, since the nodes of a cluster differ", function()
        local seen = {}
        for _ = 1, 2000 do
            local port = cluster.free_port()
            assert.is_nil(seen[port])
            seen[port] = true
        end
    end)
end)
