// What matrix-js-sdk needs of Node before it is loaded: import this first.

// Node 20 lacks it.
Promise.withResolvers ??= function withResolvers() {
    const resolvers = {};
    resolvers.promise = new this((resolve, reject) => Object.assign(resolvers, { resolve, reject }));
    return resolvers;
};

// What the SDK logs goes to standard error: standard output is for results.
for (const level of ["log", "info", "debug", "trace"]) console[level] = console.error;
