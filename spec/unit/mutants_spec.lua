-- `./dev mutate` is not run by CI; that its mutants still stand in the code is seen here.
local function read(path)
    local file = assert(io.open(path))
    local text = file:read "a"
    file:close()
    return text
end

local function count(text, part)
    local n, at = 0, text:find(part, 1, true)
    while at do
        n, at = n + 1, text:find(part, at + 1, true)
    end
    return n
end

describe("mutants", function()
    for _, path in ipairs { "tests/mutants.lua", "tests/sim/planted.lua" } do
        it("each stand in the code, once: " .. path, function()
            local seen = 0
            for _, mutant in ipairs(dofile(path)) do
                seen = seen + 1
                assert.equal(1, count(read(mutant.file), mutant.from), mutant.name)
                if mutant.test then
                    local cat <close> = assert(io.popen("cat tests/unit/*/" .. mutant.test .. ".c"))
                    local test = cat:read "a"
                    assert.truthy(test:find(mutant.case, 1, true), mutant.name .. ": no such test")
                end
            end
            assert.truthy(seen > 0)
        end)
    end
end)
