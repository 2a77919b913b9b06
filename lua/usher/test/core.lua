--- Finds the C half of the helpers ("usher.house", src/policy/test_vm.h): inside the program
--- it is there; plain busted loads usher_house.so, built beside the program.
local function loadable()
    local candidates = {}
    local function add(path) candidates[#candidates + 1] = path end
    local program = os.getenv("USHER")
    if os.getenv("USHER_HOUSE") then add(os.getenv("USHER_HOUSE")) end
    if program then add((program:match("^(.*)/[^/]*$") or ".") .. "/usher_house.so") end
    local found = package.searchpath("usher_house", package.cpath)
    if found then add(found) end
    for _, preset in ipairs { "release", "dev", "asan" } do add("build/" .. preset .. "/usher_house.so") end
    local whys = {}
    for _, path in ipairs(candidates) do
        local open, why = package.loadlib(path, "luaopen_usher_house")
        if open then return open end
        whys[#whys + 1] = "  " .. tostring(why)
    end
    error("usher.test: usher_house.so is not found:\n" .. table.concat(whys, "\n") ..
        "\nrun `usher policy test DIR`, or set USHER to the program's path", 0)
end

local preloaded = package.preload["usher.house"]
return preloaded and require "usher.house" or loadable()()
